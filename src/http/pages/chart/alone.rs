//! A chart that stands for itself, with its colours and a width: for mails.

use std::fmt::Write as _;

use super::Chart;

/// Pixels of the whole picture's width, and of the plot in it.
const WIDTH: u16 = 720;
const PLOT_WIDTH: u16 = 620;

/// The sheet of the pages in light colours, as far as a chart needs it.
const STYLE: &str = "text{font-family:sans-serif}.grid{stroke:#d8dade}.mark{stroke:#555b63}\
    .tick{font-size:11px;fill:#555b63}.line,.limit{fill:none;vector-effect:non-scaling-stroke;stroke-width:1.5;\
    stroke:currentColor}.limit{stroke-dasharray:3 3}.p1{color:#c8102e}.area{fill:currentColor;opacity:.12}\
    .gap{fill:#ecedef}.end{fill:currentColor;font-size:13px}.end tspan{font-size:11px;fill:#555b63}\
    .s1{color:#0b5cad}.s2{color:#00707a}.s3{color:#5b4fa8}.s4{color:#7a5c00}.s5{color:#0b5cad}.s6{color:#00707a}\
    .s7{color:#5b4fa8}.s8{color:#7a5c00}";

/// Draws a chart as the pages do and puts it into a picture of its own.
pub(in crate::http::pages) fn alone(chart: &Chart<'_>) -> String {
    let markup = chart.svg().to_string();
    let inner = markup.trim_start_matches("<div class=\"plot\">").trim_end_matches("</div>");
    let inner = inner
        .replacen("<svg class=\"chart\"", &format!("<svg class=\"chart\" width=\"{PLOT_WIDTH}\""), 1)
        .replacen("<svg class=\"ends\"", &format!("<svg class=\"ends\" x=\"{PLOT_WIDTH}\" width=\"96\""), 1);
    let height = chart.height + 48;
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\">"
    );
    let _ = write!(picture, "<style>{STYLE}</style><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>{inner}</svg>");
    picture
}
