//! The two texts in which a scraper may read metrics: OpenMetrics 1.0, which both programs write, and the older text format of
//! Prometheus (0.0.4), which some scrapers and many scripts know alone.
//!
//! Never counts anything, and never escapes anew: what stands in a text stays as it is.

use crate::http::media;

/// A form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0: the default.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Classic,
}

impl Exposition {
    /// The one that `accept` wants more; OpenMetrics where both are as welcome, or neither is named.
    pub fn asked_for(accept: Option<&[u8]>) -> Exposition {
        let weight = |media_type| accept.map_or(0, |accept| media::weight(accept, media_type));
        let is_older = weight("text/plain") > weight("application/openmetrics-text");
        if is_older { Exposition::Classic } else { Exposition::OpenMetrics }
    }

    /// The value of `content-type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Exposition::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// A text of OpenMetrics 1.0 in this form.
    pub fn of_open_metrics(self, text: String) -> String {
        match self {
            Exposition::OpenMetrics => text,
            Exposition::Classic => classic(&text),
        }
    }
}

/// In the older format a family is named as its samples are, so that of a counter ends with `_total`; there are no units and no
/// end to be told, and what it does not know is untyped.
fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    // Comments of a family come before its samples, and the help comes before the type.
    let mut help = None;
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), told) => help = Some((name, told.unwrap_or_default())),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "gauge" | "histogram" | "summary" => ("", kind),
                    "info" => ("_info", "gauge"),
                    "stateset" => ("", "gauge"),
                    _ => ("", "untyped"),
                };
                if let Some((_, told)) = help.take().filter(|(of, _)| *of == name) {
                    out.extend(["# HELP ", name, suffix, " ", told, "\n"]);
                }
                out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            (Some("#"), ..) => {}
            _ => out.extend([line, "\n"]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_that_is_wanted_more_is_given() {
        let asked = |accept: &str| Exposition::asked_for(Some(accept.as_bytes()));
        assert_eq!(Exposition::asked_for(None), Exposition::OpenMetrics);
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            // Prometheus 2 and 3.
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.3,*/*;q=0.1",
        ] {
            assert_eq!(asked(accept), Exposition::OpenMetrics, "{accept}");
        }
        for accept in [
            "text/plain",
            "text/plain;version=0.0.4",
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            "text/plain, application/openmetrics-text;q=0.5",
            "application/openmetrics-text;q=0, text/*",
        ] {
            assert_eq!(asked(accept), Exposition::Classic, "{accept}");
        }
    }

    #[test]
    fn the_older_format_names_a_family_as_its_samples() {
        let text = "# HELP flux_orders Orders answered.\n# TYPE flux_orders counter\nflux_orders_total{outcome=\"a b\"} 2\n\
             # HELP flux_up 1 while up.\n# TYPE flux_up gauge\nflux_up 1\n\
             # HELP flux_wait_seconds Waits.\n# TYPE flux_wait_seconds histogram\n# UNIT flux_wait_seconds seconds\n\
             flux_wait_seconds_sum 0.5\nflux_wait_seconds_bucket{le=\"+Inf\"} 1\n# TYPE flux_odd unknown\nflux_odd 1\n# EOF\n";
        let expected = "# HELP flux_orders_total Orders answered.\n# TYPE flux_orders_total counter\nflux_orders_total{outcome=\"a b\"} 2\n\
             # HELP flux_up 1 while up.\n# TYPE flux_up gauge\nflux_up 1\n\
             # HELP flux_wait_seconds Waits.\n# TYPE flux_wait_seconds histogram\n\
             flux_wait_seconds_sum 0.5\nflux_wait_seconds_bucket{le=\"+Inf\"} 1\n# TYPE flux_odd untyped\nflux_odd 1\n";
        assert_eq!(Exposition::Classic.of_open_metrics(text.to_owned()), expected);
        assert_eq!(Exposition::OpenMetrics.of_open_metrics(text.to_owned()), text);
    }
}
