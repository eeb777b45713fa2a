//! Draws the figures of docs/QUEUE.md from the simulation that the tests run: `cargo run -p flux-edge --example
//! queue_figures` writes docs/queue/*.svg.

#[path = "../tests/queue/core.rs"]
mod core;
#[path = "../tests/queue/redis.rs"]
mod redis;
#[path = "../tests/queue/scenario.rs"]
mod scenario;
#[path = "../tests/queue/world.rs"]
mod world;

use std::error::Error;
use std::path::Path;

use flux_protocol::queue::{Place, Seed};
use plotters::prelude::*;
use world::{Played, Random, SECOND, Scenario, World, user};

const SIZE: (u32, u32) = (900, 480);
const FONT: &str = "sans-serif";
const SMALL: (&str, u32) = (FONT, 17);

fn main() -> Result<(), Box<dyn Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/queue");
    std::fs::create_dir_all(&directory)?;
    let scenario = Scenario::rush(2, 30);
    let (opens_us, rate) = (scenario.opens_us, scenario.rate);
    let shipped = World::play(scenario);
    draw_order(&directory.join("order.svg"), &shipped, opens_us)?;

    let mut lines = vec![("0 % no-shows", rush_before(0, false)), ("30 %", rush_before(30, false))];
    lines.push(("60 %", rush_before(60, false)));
    lines.push(("30 %, as first designed", rush_before(30, true)));
    draw_tokens(&directory.join("tokens.svg"), &lines, opens_us, rate)?;
    Ok(())
}

/// 100,000 who all come before the sale opens, so that the first design can be given all places.
fn rush_before(no_shows_percent: u64, first_design: bool) -> Played {
    let mut scenario = Scenario::rush(3, no_shows_percent);
    let mut random = Random(3);
    for visitor in &mut scenario.visitors {
        visitor.comes_us = SECOND + random.below(scenario.opens_us - SECOND);
    }
    if first_design {
        let seed = Seed::new([3; 32]);
        let places = (0..scenario.visitors.len()).map(|visitor| Place { slot: 0, rank: seed.rank(&user(visitor)) });
        scenario.first_design = Some(places.collect());
    }
    World::play(scenario)
}

/// Position in line against the time of the call and of the token, of one in fifty.
fn draw_order(path: &Path, played: &Played, opens_us: u64) -> Result<(), Box<dyn Error>> {
    let mut places: Vec<_> = played.visitors.iter().filter(|visitor| visitor.place.is_some()).collect();
    places.sort_unstable_by_key(|visitor| visitor.place);
    let seconds = |us: u64| (us - opens_us) as f64 / SECOND as f64;
    let end = seconds(played.tokens_us.last().copied().unwrap_or(opens_us)) + 0.5;

    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("A place in line, and when it was called and served (100,000 visitors, 30 % leave)", (FONT, 22))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0..places.len(), 0.0..end)?;
    chart
        .configure_mesh()
        .max_light_lines(1)
        .label_style(SMALL)
        .x_desc("position in line")
        .y_desc("seconds after the opening")
        .draw()?;
    let sampled = || places.iter().enumerate().step_by(50);
    let served = sampled().filter_map(|(position, visitor)| Some((position, seconds(visitor.served_us?))));
    let served = served.map(|point| Circle::new(point, 1, BLUE.mix(0.5).filled()));
    chart.draw_series(served)?.label("given a token").legend(|(x, y)| Circle::new((x + 10, y), 3, BLUE.filled()));
    let called = sampled().filter_map(|(position, visitor)| Some((position, seconds(visitor.called_us?))));
    chart
        .draw_series(LineSeries::new(called, RED.stroke_width(2)))?
        .label("called")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], RED));
    chart
        .configure_series_labels()
        .label_font(SMALL)
        .background_style(WHITE)
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}

/// Tokens used since the opening, against what the bucket allows.
fn draw_tokens(path: &Path, lines: &[(&str, Played)], opens_us: u64, rate: u64) -> Result<(), Box<dyn Error>> {
    let seconds = |us: u64| (us - opens_us) as f64 / SECOND as f64;
    let (end, most) = (30.0, 110_000.0);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Tokens used since the opening (5,000 a second, 100,000 in line)", (FONT, 22))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..end, 0.0..most)?;
    chart
        .configure_mesh()
        .max_light_lines(1)
        .label_style(SMALL)
        .x_desc("seconds after the opening")
        .y_desc("tokens")
        .draw()?;
    // Burst is a second's worth; drawn as far as the figure goes.
    let bound = [0.0, most / rate as f64 - 1.0].map(|at| (at, rate as f64 * (at + 1.0)));
    chart
        .draw_series(LineSeries::new(bound, BLACK.stroke_width(1)))?
        .label("rate·t + burst")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], BLACK));
    for ((name, played), color) in lines.iter().zip([BLUE, GREEN, MAGENTA, RED]) {
        let used = played.tokens_us.iter().enumerate().step_by(100).map(|(count, at)| (seconds(*at), count as f64));
        let used = used.take_while(|(at, _)| *at <= end);
        chart
            .draw_series(LineSeries::new(used, color.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .label_font(SMALL)
        .background_style(WHITE)
        .position(SeriesLabelPosition::LowerRight)
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}
