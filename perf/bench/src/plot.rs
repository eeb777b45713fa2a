//! Drawings of a run: for each scenario the CPU of an answer by contestant, and the rate.

use plotters::prelude::*;

use super::figures::{Cell, Figures, Findings, Load};
use super::scenario::Scenario;

const WIDTH: u32 = 960;
/// Of title, caption and axis, and of each bar.
const HEIGHT_BESIDE: u32 = 110;
const HEIGHT_BY_BAR: u32 = 24;
const FONT: &str = "sans-serif";

/// What one bar stands on another for, from below.
type Part = (&'static str, fn(&Figures) -> f64, RGBColor);

/// A scenario's drawing as SVG; `None` where it was not measured in a closed loop with so many threads.
///
/// # Errors
/// What the library says.
pub fn draw(findings: &Findings, scenario: Scenario, threads: u32) -> Result<Option<String>, String> {
    let wanted = |cell: &Cell| (cell.scenario, cell.load, cell.threads) == (scenario, Load::Closed, threads);
    let cells: Vec<Cell> = findings.cells().into_iter().filter(wanted).collect();
    if cells.is_empty() {
        return Ok(None);
    }
    let mut svg = String::new();
    {
        let height = HEIGHT_BESIDE + HEIGHT_BY_BAR * cells.len() as u32;
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        draw_on(&area, findings, scenario, threads, &cells).map_err(|error| error.to_string())?;
    }
    Ok(Some(svg))
}

fn draw_on<D: DrawingBackend>(
    area: &DrawingArea<D, plotters::coord::Shift>,
    findings: &Findings,
    scenario: Scenario,
    threads: u32,
    cells: &[Cell],
) -> Result<(), DrawingAreaErrorKind<D::ErrorType>> {
    area.fill(&WHITE)?;
    let title = format!("{}, {threads} thread(s), medians", scenario.name());
    let area = area.titled(&title, (FONT, 20))?;
    let (left, right) = area.split_horizontally(WIDTH / 2);
    let cost: [Part; 3] = [
        ("contestant", |figures| figures.server_us, RGBColor(31, 119, 180)),
        ("Redis", |figures| figures.redis_us, RGBColor(214, 39, 40)),
        ("Kafka", |figures| figures.kafka_us, RGBColor(140, 140, 140)),
    ];
    let rate: [Part; 1] = [("answers a second", |figures| figures.per_second, RGBColor(44, 160, 44))];
    bars(&left, findings, cells, "CPU of an answer, µs", &cost)?;
    bars(&right, findings, cells, "answers a second", &rate)?;
    area.present()
}

/// One bar a cell, the first on top; its parts behind each other.
fn bars<D: DrawingBackend>(
    area: &DrawingArea<D, plotters::coord::Shift>,
    findings: &Findings,
    cells: &[Cell],
    what: &str,
    parts: &[Part],
) -> Result<(), DrawingAreaErrorKind<D::ErrorType>> {
    let value = |cell: &Cell, part: &Part| findings.median(*cell, part.1).unwrap_or(0.0);
    let length = |cell: &Cell| parts.iter().map(|part| value(cell, part)).sum::<f64>();
    let longest = cells.iter().map(length).fold(f64::MIN_POSITIVE, f64::max);
    // The legend stands in the free part at the right.
    let room = if parts.len() > 1 { 1.4 } else { 1.05 };
    let last = cells.len() - 1;
    let mut chart = ChartBuilder::on(area)
        .caption(what, (FONT, 15))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(110)
        .build_cartesian_2d(0.0..longest * room, (0..last).into_segmented())?;
    let name = |position: &SegmentValue<usize>| match position {
        SegmentValue::CenterOf(index) => cells
            .get(last.wrapping_sub(*index))
            .map_or(String::new(), |cell| format!("{} {}", cell.contestant.name(), cell.connections)),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .y_labels(cells.len())
        .y_label_formatter(&name)
        .x_labels(6)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .draw()?;
    for (place, part) in parts.iter().enumerate() {
        let pieces = cells.iter().enumerate().map(|(index, cell)| {
            let before: f64 = parts[..place].iter().map(|part| value(cell, part)).sum();
            let (from, to) = (SegmentValue::Exact(last - index), SegmentValue::Exact(last - index + 1));
            let mut piece = Rectangle::new([(before, from), (before + value(cell, part), to)], part.2.filled());
            piece.set_margin(3, 3, 0, 0);
            piece
        });
        let colour = part.2;
        chart
            .draw_series(pieces)?
            .label(part.0)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()));
    }
    if parts.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .label_font((FONT, 12))
            .draw()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::contestant::Contestant;
    use super::super::figures::tests::row;
    use super::*;

    #[test]
    fn a_drawing_names_every_contestant() {
        let mut findings = Findings::default();
        findings.rows.push(row(Scenario::Accepted, Contestant::Edge, 64, 40_000.0, 7.0));
        findings.rows.push(row(Scenario::Accepted, Contestant::Go, 256, 30_000.0, 30.0));
        let svg = draw(&findings, Scenario::Accepted, 1).unwrap().unwrap();
        for text in ["<svg", "edge 64", "go 256", "Redis", "</svg>"] {
            assert!(svg.contains(text), "{text} is not in the drawing");
        }
        assert_eq!(draw(&findings, Scenario::Accepted, 2), Ok(None));
        assert_eq!(draw(&findings, Scenario::Stock, 1), Ok(None));
    }
}
