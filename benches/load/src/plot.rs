//! What a backlog costs, drawn: the time that a job on top takes, by how many lie in the store.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::growth::Cost;

/// Width and height, in pixels.
const SIZE: (u32, u32) = (760, 400);

/// Colours that are told apart in print and by those who see red and green alike (Okabe and Ito's).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(230, 159, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// Writes a line for each kind of backlog to the SVG file `path`.
///
/// # Errors
///
/// If the file cannot be written.
pub fn growth(costs: &[Cost], path: &Path) -> Result<(), Box<dyn Error>> {
    let micros = |cost: &Cost| 1e6 / cost.per_second;
    let (least, most) = costs.iter().fold((u32::MAX, 0), |(least, most), it| (least.min(it.size), most.max(it.size)));
    let top = costs.iter().map(micros).fold(0.0, f64::max) * 1.2;
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("What a job costs on top of a backlog", ("sans-serif", 17))
        .margin(12)
        .margin_right(44)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d((f64::from(least)..f64::from(most)).log_scale(), 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .x_desc("jobs in the store")
        .y_desc("microseconds a job, created, processed and settled")
        .x_label_formatter(&|size| grouped(*size as u64))
        .draw()?;
    let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for cost in costs {
        lines.entry(&cost.backlog).or_default().push((f64::from(cost.size), micros(cost)));
    }
    for ((backlog, points), colour) in lines.into_iter().zip(COLOURS) {
        let line = LineSeries::new(points, colour.stroke_width(2)).point_size(3);
        let key = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
        chart.draw_series(line)?.label(backlog).legend(key);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.2))
        .draw()?;
    root.present()?;
    Ok(())
}

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backlog_has_its_line_and_every_size_its_place() {
        let cost = |backlog: &str, size, per_second| Cost {
            backlog: backlog.into(),
            size,
            per_second,
            open_ms: 1.0,
            bytes_per_job: 70.0,
            file_bytes_per_job: 400.0,
        };
        let costs = [cost("ready", 10_000, 50_000.0), cost("ready", 1_000_000, 40_000.0), cost("users", 10_000, 1e5)];
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let path = folder.path().join("growth.svg");
        growth(&costs, &path).expect("the file is written");
        let svg = std::fs::read_to_string(path).expect("it can be read");
        for text in ["ready", "users", "1,000,000", "jobs in the store"] {
            assert!(svg.contains(text), "{text} is not in\n{svg}");
        }
        let drawn = COLOURS.map(|RGBColor(r, g, b)| svg.contains(&format!("#{r:02X}{g:02X}{b:02X}")));
        assert_eq!(drawn, [true, true, false, false], "two lines in\n{svg}");
    }
}
