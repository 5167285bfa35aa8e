//! Histograms as text: HdrHistogram's own compressed encoding (V2, deflate) in base64, which its public
//! tools read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use crate::measure;
use crate::stats::Counts;

/// The longest text that is decoded: more than a histogram of an hour with three digits can need.
const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A histogram that is text in JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hdr(pub(super) Histogram<u64>);

/// The counts of an interval, a histogram in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HdrCounts(pub(super) Counts);

fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    // INVARIANT: memory takes every byte, and the encoding has room for every count below 2^63.
    let written = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
    debug_assert!(written.is_ok());
    STANDARD.encode(bytes)
}

fn decode(text: &str) -> Result<Histogram<u64>, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err("a histogram is too long".to_owned());
    }
    let bytes = STANDARD.decode(text).map_err(|e| format!("a histogram is not base64: {e}"))?;
    let decoded: Histogram<u64> = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|e| format!("a histogram can't be decoded: {e}"))?;
    // Other bounds would not merge with ours.
    let mut histogram = measure::histogram();
    histogram.add(&decoded).map_err(|e| format!("a histogram has other bounds: {e}"))?;
    Ok(histogram)
}

impl Serialize for Hdr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hdr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(&text).map(Hdr).map_err(D::Error::custom)
    }
}

/// The histogram that these counts came from.
pub(crate) fn histogram_of(counts: &Counts) -> Histogram<u64> {
    let mut histogram = measure::histogram();
    for &(value, count) in &counts.0 {
        histogram.saturating_record_n(value, count);
    }
    histogram
}

impl Serialize for HdrCounts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&histogram_of(&self.0)))
    }
}

impl<'de> Deserialize<'de> for HdrCounts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let histogram = decode(&text).map_err(D::Error::custom)?;
        Ok(HdrCounts(Counts::of(&histogram)))
    }
}
