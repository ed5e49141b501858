//! One diagram: a title, a legend, two axes and some lines.

use super::axis::Axis;
use super::canvas::{Align, Area, Canvas, Color, LINE, width_of};
use super::series::{Points, thin};

const INK: Color = [45, 50, 60];
const FAINT: Color = [120, 126, 138];
const GRID: Color = [232, 234, 239];

/// Room on the left of a diagram for the words of its marks.
const MARGIN: f64 = 72.0;

/// One figure in a diagram.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Points,
    pub(super) color: Color,
    pub(super) width: f64,
    /// Whether every point gets a dot: for figures that are measured now and then.
    pub(super) dots: bool,
}

/// Draws the lines into `area`; `steps` is the range of all diagrams. Without a point it says so.
pub(super) fn draw(canvas: &mut Canvas, area: Area, title: &str, lines: &[Line], steps: Axis) {
    canvas.title(title, (area.left + MARGIN, area.top), INK);
    let plot = Area {
        left: area.left + MARGIN,
        top: area.top + 2.0 * LINE + 18.0,
        right: area.right - 16.0,
        bottom: area.bottom - 2.0 * LINE - 6.0,
    };
    let values = lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let Some(range) = Axis::around(values).map(|axis| axis.widened(0.04)) else {
        frame(canvas, plot);
        let middle = ((plot.left + plot.right) / 2.0, (plot.top + plot.bottom - LINE) / 2.0);
        canvas.words("nothing measured yet", middle, Align::Center, FAINT);
        return;
    };
    legend(canvas, lines, (plot.left, area.top + LINE + 6.0));
    let x = |step: f64| plot.left + steps.share(step) * (plot.right - plot.left);
    let y = |value: f64| plot.bottom - range.share(value) * (plot.bottom - plot.top);
    for (value, words) in range.marks(5) {
        canvas.line((plot.left, y(value)), (plot.right, y(value)), 1.0, GRID);
        canvas.words(&words, (plot.left - 8.0, y(value) - LINE / 2.0), Align::Right, FAINT);
    }
    for (step, words) in steps.marks(6) {
        canvas.line((x(step), plot.top), (x(step), plot.bottom), 1.0, GRID);
        canvas.words(&words, (x(step), plot.bottom + 5.0), Align::Center, FAINT);
    }
    canvas.words("step", (plot.right, plot.bottom + LINE + 4.0), Align::Right, FAINT);
    for line in lines {
        let most = (plot.right - plot.left) as usize;
        let points: Points =
            thin(&line.points, most).into_iter().map(|point| (x(point.0), y(point.1))).collect();
        canvas.path(&points, line.width, line.color);
        let alone = points.len() == 1;
        for &point in points.iter().filter(|_| line.dots || alone) {
            canvas.line(point, point, line.width + 4.0, line.color);
        }
    }
    frame(canvas, plot);
}

/// The left and lower edge.
fn frame(canvas: &mut Canvas, plot: Area) {
    let corner = (plot.left, plot.bottom);
    canvas.line((plot.left, plot.top), corner, 1.0, FAINT);
    canvas.line(corner, (plot.right, plot.bottom), 1.0, FAINT);
}

/// The names of the lines; one alone is told by the title.
fn legend(canvas: &mut Canvas, lines: &[Line], (mut left, top): (f64, f64)) {
    if lines.len() == 1 {
        return;
    }
    for line in lines.iter().filter(|line| !line.points.is_empty()) {
        let middle = top + LINE / 2.0;
        canvas.line((left + 2.0, middle), (left + 18.0, middle), line.width.max(2.5), line.color);
        canvas.words(line.name, (left + 26.0, top), Align::Left, FAINT);
        left += 26.0 + width_of(line.name) + 14.0;
    }
}
