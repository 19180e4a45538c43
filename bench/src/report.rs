//! The figures: collected, compared and printed.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

/// One figure of one contestant.
#[derive(Debug, Serialize)]
struct Row {
    measurement: String,
    contestant: String,
    unit: &'static str,
    median: f64,
    minimum: f64,
    maximum: f64,
    rounds: usize,
}

#[derive(Debug)]
pub(crate) struct Report {
    only: Vec<String>,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(only: Vec<String>) -> Self {
        Self {
            only,
            rows: Vec::new(),
        }
    }

    /// Whether a measurement was asked for; says that it starts, since each takes a while.
    pub(crate) fn wants(&self, measurement: &str) -> bool {
        let wanted = self.only.is_empty()
            || self
                .only
                .iter()
                .any(|word| measurement.contains(word.as_str()));
        if wanted {
            eprintln!("measuring: {measurement}");
        }
        wanted
    }

    /// Adds the samples of one contestant; nothing where there are none.
    pub(crate) fn add(
        &mut self,
        measurement: &str,
        contestant: &str,
        unit: &'static str,
        mut samples: Vec<f64>,
    ) {
        samples.sort_by(f64::total_cmp);
        let (Some(minimum), Some(maximum)) = (samples.first(), samples.last()) else {
            return;
        };
        self.rows.push(Row {
            measurement: measurement.to_owned(),
            contestant: contestant.to_owned(),
            unit,
            median: median(&samples),
            minimum: *minimum,
            maximum: *maximum,
            rounds: samples.len(),
        });
    }

    /// Prints a table; a peer's figures come with their ratio to Hull's.
    pub(crate) fn print(&self) {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header([
            "measurement",
            "contestant",
            "median",
            "min … max",
            "unit",
            "rounds",
            "× Hull",
        ]);
        for row in &self.rows {
            let ratio = self
                .rows
                .iter()
                .find(|other| other.contestant == "hull" && other.measurement == row.measurement)
                .filter(|hull| row.contestant != "hull" && hull.median > 0.0)
                .map_or_else(String::new, |hull| {
                    format!("{:.2}", row.median / hull.median)
                });
            table.add_row([
                row.measurement.clone(),
                row.contestant.clone(),
                format!("{:.1}", row.median),
                format!("{:.1} … {:.1}", row.minimum, row.maximum),
                row.unit.to_owned(),
                row.rounds.to_string(),
                ratio,
            ]);
        }
        for column in [2, 3, 5, 6] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("{table}");
    }

    /// All figures, for scripts.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(&self.rows)?)
    }
}

/// The median of sorted samples; the mean of the two in the middle where their number is even.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(low), Some(high)) if sorted.len().is_multiple_of(2) => f64::midpoint(*low, *high),
        (_, Some(high)) => *high,
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_one_or_the_mean_of_the_two() {
        assert!((median(&[1.0, 2.0, 9.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[1.0, 2.0, 4.0, 9.0]) - 3.0).abs() < 1e-9);
        assert!((median(&[5.0]) - 5.0).abs() < 1e-9);
    }
}
