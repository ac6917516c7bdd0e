//! What the exporter tells of each process, as OpenMetrics text: the list of the metrics is here.
//!
//! What must hold: each name is written once, all values of a metric follow each other, and a label has nothing in it that moves a cursor.

use super::watched::Told;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;

/// Letters of a command line that are told.
const COMMAND: usize = 200;

/// A metric of a process: its name, what it is, its unit, and how it is had. Counters only grow.
struct Metric {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    is_counter: bool,
    of: fn(&Told) -> Option<u64>,
}

const fn bytes(name: &'static str, help: &'static str, of: fn(&Told) -> Option<u64>) -> Metric {
    Metric {
        name,
        help,
        unit: Some(Unit::Bytes),
        is_counter: false,
        of,
    }
}

const fn counter(name: &'static str, help: &'static str, of: fn(&Told) -> Option<u64>) -> Metric {
    Metric {
        name,
        help,
        unit: None,
        is_counter: true,
        of,
    }
}

const METRICS: &[Metric] = &[
    bytes(
        "resident",
        "Resident memory of the process",
        |(seen, ..)| Some(seen.look.whole.resident as u64),
    ),
    bytes(
        "peak_resident",
        "The most that was resident at one time",
        |(seen, ..)| seen.peak.map(|peak| peak as u64),
    ),
    bytes(
        "limit",
        "The least memory limit of the control groups of the process",
        |(seen, ..)| seen.control_group.as_ref()?.1,
    ),
    bytes("in_use", "Blocks that the program has", |(seen, ..)| {
        Some(seen.look.whole.bytes_in_use as u64)
    }),
    bytes(
        "page_floor",
        "Resident pages that hold a block in use",
        |(_, moment, _)| Some(moment.parts.floor() as u64),
    ),
    bytes(
        "pinned",
        "Free bytes of the pages that hold a block in use",
        |(_, moment, _)| Some(moment.parts.pinned as u64),
    ),
    bytes(
        "returnable",
        "Pages of which less than a quarter is in use",
        |(_, moment, _)| Some(moment.census.pins.all.returnable as u64),
    ),
    bytes(
        "free",
        "Resident memory of the library without a block in use",
        |(_, moment, _)| Some(moment.parts.free as u64),
    ),
    bytes(
        "files",
        "Resident memory of files, and what is shared",
        |(_, moment, _)| Some(moment.parts.files as u64),
    ),
    bytes(
        "other",
        "Resident stacks, and what the program mapped itself",
        |(_, moment, _)| Some(moment.parts.other as u64),
    ),
    bytes(
        "retained",
        "What may stay resident since it was given back too early before",
        |(seen, ..)| Some(seen.look.whole.retained_bytes as u64),
    ),
    bytes(
        "purged",
        "Pages in pools that were given back and are not in use again",
        |(seen, ..)| Some(seen.look.whole.pages_purged_bytes as u64),
    ),
    counter(
        "purged_slots",
        "Free slots whose pages were given back",
        |(seen, ..)| Some(seen.look.whole.slots_purged as u64),
    ),
    counter("arenas_mapped", "Arenas mapped", |(seen, ..)| {
        Some(seen.look.whole.arenas_mapped as u64)
    }),
    counter("arenas_unmapped", "Arenas unmapped", |(seen, ..)| {
        Some(seen.look.whole.arenas_unmapped as u64)
    }),
    counter("page_faults", "Page faults of the process", |(seen, ..)| {
        Some(seen.facts.faults)
    }),
];

/// Of each size class: in use, and pinned.
const OF_CLASSES: [(&str, &str); 2] = [
    ("class_in_use", "Blocks that the program has, by size class"),
    ("class_pinned", "Free bytes of the pages that these lie on"),
];

/// All of it.
pub fn text((told, unreadable): (Vec<Told>, usize)) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("pymalloc");
    registry.register_collector(Box::new(Values::of(&told, unreadable)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

type Labels = Vec<(&'static str, String)>;

/// The values of a metric, each with its labels.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    is_counter: bool,
    values: Vec<(Labels, u64)>,
}

#[derive(Debug)]
struct Values(Vec<Family>, Vec<Labels>);

fn labels((seen, ..): &Told) -> Labels {
    let role = if seen.is_worker { "worker" } else { "main" };
    vec![("pid", seen.pid.to_string()), ("role", role.into())]
}

impl Values {
    fn of(told: &[Told], unreadable: usize) -> Self {
        let mut families: Vec<_> = METRICS
            .iter()
            .map(|metric| Family {
                name: metric.name,
                help: metric.help,
                unit: metric.unit.clone(),
                is_counter: metric.is_counter,
                values: told
                    .iter()
                    .filter_map(|told| Some((labels(told), (metric.of)(told)?)))
                    .collect(),
            })
            .collect();
        families.extend(OF_CLASSES.iter().enumerate().map(|(which, (name, help))| {
            Family {
                name,
                help,
                unit: Some(Unit::Bytes),
                is_counter: false,
                values: told
                    .iter()
                    .flat_map(|told| of_classes(told, which))
                    .collect(),
            }
        }));
        families.push(Family {
            name: "count_age",
            help: "How old the count of blocks is, of which page_floor, pinned and what is by class are",
            unit: Some(Unit::Seconds),
            is_counter: false,
            values: told.iter().map(|told| (labels(told), told.2.as_secs())).collect(),
        });
        families.push(Family {
            name: "unreadable_processes",
            help: "Processes that the exporter may not read",
            unit: None,
            is_counter: false,
            values: vec![(Vec::new(), unreadable as u64)],
        });
        Values(families, told.iter().map(info).collect())
    }
}

fn of_classes(told: &Told, which: usize) -> Vec<(Labels, u64)> {
    let rows = told.1.census.sizes.iter().map(|row| {
        let class = match row.block_size {
            0 => "large".into(),
            size => size.to_string(),
        };
        let mut labels = labels(told);
        labels.push(("class", class));
        (labels, [row.bytes, row.pinned][which] as u64)
    });
    rows.collect()
}

/// What a process is called, and where it is.
fn info(told: &Told) -> Labels {
    let mut labels = labels(told);
    let group = told.0.control_group.as_ref();
    labels.push((
        "cgroup",
        group.map_or(String::new(), |(path, _)| path.clone()),
    ));
    labels.push(("command", told.0.command.chars().take(COMMAND).collect()));
    labels
}

impl Collector for Values {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in self.0.iter().filter(|family| !family.values.is_empty()) {
            let kind = match family.is_counter {
                true => MetricType::Counter,
                false => MetricType::Gauge,
            };
            let unit = family.unit.as_ref();
            let mut metric = encoder.encode_descriptor(family.name, family.help, unit, kind)?;
            for (labels, value) in &family.values {
                let mut metric = metric.encode_family(labels)?;
                match family.is_counter {
                    true => metric.encode_counter::<NoLabelSet, u64, u64>(value, None)?,
                    false => metric.encode_gauge(value)?,
                }
            }
        }
        if self.1.is_empty() {
            return Ok(());
        }
        let help = "The processes that the exporter tells of";
        let mut metric = encoder.encode_descriptor("process", help, None, MetricType::Info)?;
        for labels in &self.1 {
            metric.encode_info(labels)?;
        }
        Ok(())
    }
}
