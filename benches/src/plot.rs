//! Plots of how something grows: both axes logarithmic, a line for each series, as SVG.

use std::path::Path;

use plotters::prelude::*;

/// Width and height, pixels.
const SIZE: (u32, u32) = (720, 420);
/// One colour for each series: blue and orange are told apart by everybody.
const COLOURS: [RGBColor; 2] = [RGBColor(0x1f, 0x5f, 0xa8), RGBColor(0xd9, 0x6b, 0x00)];

/// A line of a plot: what it is, and its points.
pub struct Line {
    /// For the legend.
    pub what: String,
    /// From left to right, all above zero.
    pub points: Vec<(f64, f64)>,
}

/// Writes a plot.
///
/// # Panics
/// When the file cannot be written.
pub fn write(path: &Path, title: &str, below: &str, lines: &[Line], show: impl Fn(f64) -> String) {
    let drawn = draw(path, title, below, lines, &show);
    drawn.unwrap_or_else(|error| panic!("{} could not be drawn: {error}", path.display()));
}

fn draw(
    path: &Path,
    title: &str,
    below: &str,
    lines: &[Line],
    show: &dyn Fn(f64) -> String,
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let ends = |of: fn(&(f64, f64)) -> f64| {
        let (least, most) =
            points().map(of).fold((f64::MAX, f64::MIN_POSITIVE), |(a, b), v| (a.min(v), b.max(v)));
        // Whole decades, so that slopes of different plots can be compared.
        (10f64.powf(least.log10().floor()), 10f64.powf(most.log10().ceil()))
    };
    let ((left, right), (low, high)) = (ends(|point| point.0), ends(|point| point.1));
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 18))?;
    let mut chart = ChartBuilder::on(&root)
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(84)
        .build_cartesian_2d((left..right).log_scale(), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(below)
        .x_label_formatter(&|names| format!("{names:.0}"))
        .y_label_formatter(&|value| show(*value))
        .light_line_style(WHITE)
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(line.points.clone(), colour.stroke_width(2)))?
            .label(&line.what)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(line.points.iter().map(|at| Circle::new(*at, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE)
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_its_title_its_lines_and_no_other_ink() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("plot.svg");
        let line = |what: &str, by: f64| Line {
            what: what.to_owned(),
            points: vec![(1e3, 0.001 * by), (1e6, 0.5 * by)],
        };
        let lines = [line("one", 1.0), line("other", 3.0)];
        write(&path, "A title", "names", &lines, |value| format!("{value} s"));
        let text = std::fs::read_to_string(&path).expect("a plot");
        for want in ["A title", "names", "one", "other", "1000000", "0.01 s", "#1F5FA8"] {
            assert!(text.contains(want), "{want} is not in {text}");
        }
    }
}
