//! `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`: orders of instant vectors.

use std::cmp::Ordering;

use crate::query::promql::columns::Columns;
use crate::query::promql::tree::Order;

/// Compares two rows of an instant vector. NaN comes last in both orders of value.
pub(in crate::query::promql) fn compare(order: &Order, columns: &Columns<'_>, a: usize, b: usize) -> Ordering {
    let (x, y) = (columns.cell(a, 0), columns.cell(b, 0));
    let nan_last = x.is_nan().cmp(&y.is_nan());
    match order {
        Order::Rising => nan_last.then(x.partial_cmp(&y).unwrap_or(Ordering::Equal)),
        Order::Falling => nan_last.then(y.partial_cmp(&x).unwrap_or(Ordering::Equal)),
        Order::Labels(names) => by_labels(names, columns, a, b),
        Order::LabelsFalling(names) => by_labels(names, columns, b, a),
    }
}

fn by_labels(names: &[String], columns: &Columns<'_>, a: usize, b: usize) -> Ordering {
    let (a, b) = (columns.labels(a), columns.labels(b));
    let by_names = names.iter().map(|n| natural(a.get(n).unwrap_or(""), b.get(n).unwrap_or("")));
    by_names.fold(Ordering::Equal, Ordering::then).then_with(|| a.cmp(b))
}

/// Compares texts with runs of digits as numbers: `a2` before `a10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (Some(x), Some(y)) = (a.chars().next(), b.chars().next()) else { return a.len().cmp(&b.len()) };
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let ((left, a_rest), (right, b_rest)) = (digits(a), digits(b));
            let (m, n) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
            let order = m.len().cmp(&n.len()).then_with(|| m.cmp(n)).then_with(|| left.len().cmp(&right.len()));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (a_rest, b_rest);
        } else if x != y {
            return x.cmp(&y);
        } else {
            (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]);
        }
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_digits_are_numbers() {
        let mut names = vec!["node10", "node2", "node1", "Node3", "node", "node2b"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["Node3", "node", "node1", "node2", "node2b", "node10"]);
    }
}
