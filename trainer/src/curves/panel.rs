//! One diagram: a title, a legend, two axes and some lines.

use super::axis::{Axis, Scale};
use super::canvas::{Align, Area, Canvas, Color, LINE, width_of};
use super::series::{Points, thin};

pub(super) const INK: Color = [45, 50, 60];
const FAINT: Color = [120, 126, 138];
const GRID: Color = [232, 234, 239];

/// Room on the left of a diagram for the words of its marks.
const MARGIN: f64 = 72.0;

/// One figure in a diagram.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Points,
    pub(super) color: Color,
    pub(super) width: f64,
    /// Whether every point gets a dot: for figures that are measured now and then.
    pub(super) dots: bool,
}

/// A diagram.
pub(super) struct Panel<'a> {
    pub(super) title: &'a str,
    pub(super) lines: &'a [Line],
    /// What its points lie along, and in what unit.
    pub(super) along: (Axis, &'a str),
    /// How high it reaches; where absent as high as its points.
    pub(super) height: Option<Axis>,
    /// A place along it that is marked from top to bottom, with its words.
    pub(super) mark: Option<(f64, String)>,
}

/// Draws `panel` into `area`. Without a point it says so.
pub(super) fn draw(canvas: &mut Canvas, area: Area, panel: &Panel<'_>) {
    let (along, unit) = panel.along;
    canvas.title(panel.title, (area.left + MARGIN, area.top), INK);
    let (left, right) = (area.left + MARGIN, area.right - 16.0);
    let legend = legend(panel.lines, right - left);
    let rows = legend.last().map_or(1.0, |entry| entry.row + 1.0);
    let plot = Area {
        left,
        top: area.top + (1.0 + rows) * LINE + 18.0,
        right,
        bottom: area.bottom - 2.0 * LINE - 6.0,
    };
    let values = panel.lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let range = Axis::around(values).map(|axis| panel.height.unwrap_or(axis.widened(0.04)));
    let Some(range) = range else {
        frame(canvas, plot);
        let middle = ((plot.left + plot.right) / 2.0, (plot.top + plot.bottom - LINE) / 2.0);
        canvas.words("nothing measured yet", middle, Align::Center, FAINT);
        return;
    };
    for entry in legend {
        let (x, y) = (left + entry.left, area.top + LINE + 6.0 + entry.row * LINE);
        let (line, middle) = (entry.line, y + LINE / 2.0);
        canvas.line((x + 2.0, middle), (x + 18.0, middle), line.width.max(2.5), line.color);
        canvas.words(&line.name, (x + 26.0, y), Align::Left, FAINT);
    }
    let x = |place: f64| plot.left + along.share(place) * (plot.right - plot.left);
    let y = |value: f64| plot.bottom - range.share(value) * (plot.bottom - plot.top);
    for (value, words) in range.marks(5) {
        canvas.line((plot.left, y(value)), (plot.right, y(value)), 1.0, GRID);
        canvas.words(&words, (plot.left - 8.0, y(value) - LINE / 2.0), Align::Right, FAINT);
    }
    for (place, words) in along.marks(6) {
        canvas.line((x(place), plot.top), (x(place), plot.bottom), 1.0, GRID);
        canvas.words(&words, (x(place), plot.bottom + 5.0), Align::Center, FAINT);
    }
    canvas.words(unit, (plot.right, plot.bottom + LINE + 4.0), Align::Right, FAINT);
    if let Some((place, words)) = &panel.mark {
        canvas.line((x(*place), plot.top), (x(*place), plot.bottom), 1.5, FAINT);
        canvas.words(words, (x(*place) + 6.0, plot.top), Align::Left, INK);
    }
    for line in panel.lines {
        let points = placed(line, along, plot);
        let points: Points = points.into_iter().map(|point| (x(point.0), y(point.1))).collect();
        canvas.path(&points, line.width, line.color);
        let alone = points.len() == 1;
        for &point in points.iter().filter(|_| line.dots || alone) {
            canvas.line(point, point, line.width + 4.0, line.color);
        }
    }
    frame(canvas, plot);
}

/// The points of a line, no more than there are pixels; on a logarithmic axis they are few already.
fn placed(line: &Line, along: Axis, plot: Area) -> Points {
    match along.scale {
        Scale::Linear => thin(&line.points, (plot.right - plot.left) as usize),
        Scale::Log => line.points.clone(),
    }
}

/// The left and lower edge.
fn frame(canvas: &mut Canvas, plot: Area) {
    let corner = (plot.left, plot.bottom);
    canvas.line((plot.left, plot.top), corner, 1.0, FAINT);
    canvas.line(corner, (plot.right, plot.bottom), 1.0, FAINT);
}

/// The name of a line, `left` pixels from the left in a row from 0.
struct Entry<'a> {
    line: &'a Line,
    left: f64,
    row: f64,
}

/// The names of the lines, in as many rows as it takes; one alone is told by the title.
fn legend(lines: &[Line], width: f64) -> Vec<Entry<'_>> {
    let (mut left, mut row) = (0.0, 0.0);
    let mut entries = Vec::new();
    for line in lines.iter().filter(|line| lines.len() > 1 && !line.points.is_empty()) {
        let wide = 26.0 + width_of(&line.name);
        if left > 0.0 && left + wide > width {
            (left, row) = (0.0, row + 1.0);
        }
        entries.push(Entry { line, left, row });
        left += wide + 14.0;
    }
    entries
}
