//! The comparison as data: every sample, and the figures that the tables show.
//!
//! Names carry their units. `format` rises when a field changes its meaning or goes.

use serde_json::{Map, Value, json};

use super::Setup;
use crate::peers::plan::Section;
use crate::peers::results::{Figure, Results, Row, Sample};

/// Of the fields below.
const FORMAT: u32 = 1;

/// The whole comparison, with a line end.
pub(in crate::peers) fn render(results: &Results, setup: &Setup) -> String {
    let subjects: Vec<Value> = setup
        .subjects
        .iter()
        .map(|described| {
            json!({
                "name": described.subject.name(),
                "label": described.subject.label(),
                "version": described.version,
                "command": described.command,
            })
        })
        .collect();
    let report = json!({
        "format": FORMAT,
        "program": concat!("pinion-bench ", env!("CARGO_PKG_VERSION")),
        "command": setup.command,
        "started_unix_seconds": setup.started,
        "machine": setup.machine,
        "debug_build": cfg!(debug_assertions),
        "repeats": results.repeats,
        "ended_early": results.ended_early,
        "failures": results.failures,
        "subjects": subjects,
        "rows": results.rows.iter().map(row).collect::<Vec<_>>(),
    });
    format!("{report:#}\n")
}

fn row(row: &Row) -> Value {
    let case = row.case;
    let mut value = json!({
        "section": case.section.name(),
        "case": case.label(),
        "subject": row.subject.name(),
        "bytes": case.bytes,
        "connections": case.connections,
        "streams": case.streams,
        "traffic": case.traffic.name(),
        "transport": format!("{:?}", case.transport).to_lowercase(),
        "cpu_nanos_per_request_first_quartile": row.first_quartile(Figure::Cpu),
        "cpu_spread": row.spread(Figure::Cpu),
        "user_share": row.user_share(),
        "system_calls_per_request": row.median(Figure::SystemCalls),
        "samples": row.samples.iter().map(sample).collect::<Vec<_>>(),
    });
    if case.section == Section::Latency {
        value["rate"] = json!(case.rate);
    }
    value
}

fn sample(sample: &Sample) -> Value {
    let figures = sample.0.iter().map(|&(figure, value)| (figure.name().to_owned(), json!(value)));
    Value::Object(figures.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::peers::address::Transport;
    use crate::peers::plan::Case;
    use crate::peers::report::Described;
    use crate::peers::subject::Subject;
    use crate::peers::traffic::Traffic;

    #[test]
    fn samples_and_setting_are_kept() {
        let case = Case {
            section: Section::Lockstep,
            bytes: 100,
            connections: 8,
            streams: 1,
            traffic: Traffic::Http1,
            transport: Transport::Unix,
            rate: 0,
        };
        let samples = vec![Sample(vec![(Figure::Cpu, 9_500.0)])];
        let results = Results {
            rows: vec![Row { case, subject: Subject::Envoy, samples }],
            repeats: 3,
            ..Results::default()
        };
        let described = Described {
            subject: Subject::Envoy,
            version: "1.40".to_owned(),
            command: "envoy -c FOLDER/envoy.yaml".to_owned(),
        };
        let setup = Setup {
            machine: Machine::here(),
            command: "pinion-bench peers".to_owned(),
            started: 7,
            subjects: vec![described],
        };
        let value: Value = serde_json::from_str(&render(&results, &setup)).unwrap();
        assert_eq!(value["format"], FORMAT);
        assert_eq!(value["subjects"][0]["version"], "1.40");
        let row = &value["rows"][0];
        assert_eq!((&row["case"], &row["transport"]), (&json!("100 B, K=8, Unix"), &json!("unix")));
        assert_eq!(row["samples"][0]["cpu_nanos_per_request"], 9_500.0);
        assert_eq!(row["user_share"], Value::Null);
    }
}
