//! What `/metrics` of either program says of TLS: handshakes and failures of each link and of the public listener, and when certificates expire.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Certificates, Reason, TlsFigures};

type Labels<'a> = [(&'a str, String); 1];
type TwoLabels<'a> = [(&'a str, String); 2];

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        encode(self, &mut encoder)
    }
}

/// Appends them; nothing where nothing has TLS.
///
/// # Errors
/// The text cannot be written.
pub fn encode(certificates: &Certificates, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    let links: Vec<(&str, &TlsFigures)> = certificates.figures().collect();
    if links.is_empty() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor("tls_handshakes", "TLS handshakes", None, MetricType::Counter)?;
    for (link, figures) in &links {
        for (kind, count) in [("full", figures.full()), ("resumed", figures.resumed())] {
            let labels: TwoLabels<'_> = [("link", (*link).to_owned()), ("kind", kind.to_owned())];
            ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
        }
    }
    let help = "TLS handshakes that failed, and connections that TLS ended";
    let mut metric = encoder.encode_descriptor("tls_failures", help, None, MetricType::Counter)?;
    for (link, figures) in &links {
        for reason in Reason::ALL {
            let labels: TwoLabels<'_> = [("link", (*link).to_owned()), ("reason", reason.name().to_owned())];
            ConstCounter::new(figures.failures(reason)).encode(metric.encode_family(&labels)?)?;
        }
    }
    let help = "Times that certificates could not be read anew";
    let mut metric = encoder.encode_descriptor("tls_reload_failures", help, None, MetricType::Counter)?;
    for (link, figures) in &links {
        let labels: Labels<'_> = [("link", (*link).to_owned())];
        ConstCounter::new(figures.reload_failures()).encode(metric.encode_family(&labels)?)?;
    }
    let help = "When a certificate expires, Unix time: our own, and the one that a peer showed last";
    let mut metric = encoder.encode_descriptor("tls_certificate_expiry_seconds", help, None, MetricType::Gauge)?;
    for (link, figures) in &links {
        for (of, expiry) in [("own", figures.own_expiry()), ("peer", figures.peer_expiry())] {
            if let Some(expiry) = expiry {
                let labels: TwoLabels<'_> = [("link", (*link).to_owned()), ("of", of.to_owned())];
                let seconds = i64::try_from(expiry).unwrap_or(i64::MAX);
                ConstGauge::new(seconds).encode(metric.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}
