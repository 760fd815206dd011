//! The chart within the HTML of a mail: picture, caption, legend. Tables and styles of each element alone, because mail
//! programs know little more; colours are named, so that a dark mail program turns the words and leaves the picture.

use std::fmt::Write as _;

use crate::model::escape_html;
use crate::notify::picture::{LegendLine, Picture};

/// How the picture is named in the HTML: `<img src="cid:chart">`.
pub(super) const CHART_ID: &str = "chart";

/// Puts the chart before the end of a mail, or its legend behind the place that the mail's template gave the picture.
pub(super) fn with_figure(mut html: String, chart: &Picture) -> String {
    let own = html.find(&format!("cid:{CHART_ID}")).and_then(|at| Some(at + html.get(at..)?.find('>')? + 1));
    match own {
        Some(behind) => html.insert_str(behind, &legend(chart)),
        None => html.insert_str(html.rfind("</body>").unwrap_or(html.len()), &figure(chart)),
    }
    html
}

fn figure(chart: &Picture) -> String {
    let (width, height) = chart.size;
    format!(
        "<p style=\"margin: 24px 0 8px; font-size: 13px; color: #555b63\">{}</p>\
         <img src=\"cid:{CHART_ID}\" alt=\"{}\" width=\"{width}\" height=\"{height}\" \
         style=\"display: block; width: 100%; max-width: {width}px; height: auto; background: #ffffff\">{}",
        escape_html(&chart.title),
        escape_html(&chart.words),
        legend(chart)
    )
}

fn legend(chart: &Picture) -> String {
    let mut rows: String = chart.legend.iter().map(row).collect();
    if chart.left_out > 0 {
        let _ = write!(
            rows,
            "<tr><td></td><td colspan=\"2\" style=\"color: #555b63\">and {} more</td></tr>",
            chart.left_out
        );
    }
    format!(
        "<table role=\"presentation\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\" \
         style=\"margin: 8px 0 0; font-size: 13px; line-height: 20px\">{rows}</table>"
    )
}

fn row(line: &LegendLine) -> String {
    let [red, green, blue] = line.colour;
    format!(
        "<tr><td style=\"padding-right: 8px; color: #{red:02x}{green:02x}{blue:02x}; font-weight: bold\">{}</td>\
         <td style=\"padding-right: 16px\">{}</td><td align=\"right\" style=\"font-weight: bold\">{}</td></tr>",
        if line.is_limit { "- -" } else { "&#9473;&#9473;" },
        escape_html(&line.name),
        escape_html(&line.value)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Picture {
        let line = |name: &str, is_limit| LegendLine {
            colour: [0x0b, 0x5c, 0xad],
            is_limit,
            name: name.to_owned(),
            value: "81 °C".to_owned(),
        };
        Picture {
            png: vec![1],
            size: (600, 216),
            title: "temp{a=\"<b>\"}".to_owned(),
            words: "temp, last 81".to_owned(),
            legend: vec![line("press <1>", false), line("limit", true)],
            left_out: 3,
        }
    }

    #[test]
    fn a_chart_stands_at_the_end_with_its_legend_or_where_the_template_wants_it() {
        let html = with_figure("<body><p>x</p></body>".to_owned(), &chart());
        assert!(html.starts_with("<body><p>x</p><p style=") && html.ends_with("</table></body>"), "{html}");
        assert!(html.contains("<img src=\"cid:chart\" alt=\"temp, last 81\" width=\"600\" height=\"216\""), "{html}");
        assert!(html.contains("temp{a=&#34;&lt;b&gt;&#34;}") && html.contains("press &lt;1&gt;"), "{html}");
        assert!(html.contains("#0b5cad") && html.contains("and 3 more"), "{html}");
        let html = with_figure("<img src='cid:chart' alt='x'><p>y</p>".to_owned(), &chart());
        assert!(
            html.starts_with("<img src='cid:chart' alt='x'><table") && html.ends_with("</table><p>y</p>"),
            "{html}"
        );
        assert_eq!(html.matches("cid:chart").count(), 1);
    }
}
