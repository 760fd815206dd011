//! Arithmetic and comparison, of numbers and of a vector with a number.

use super::{Evaluation, Sink, filtered, truth};
use crate::query::promql::Result;
use crate::query::promql::columns::{Grid, is_present};
use crate::query::promql::tree::{Operator, Vector};

/// Returns the result of an operation; comparisons give 0 or 1.
pub(in crate::query::promql) fn apply(operator: Operator, left: f64, right: f64) -> f64 {
    match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        Operator::Modulo => left % right,
        Operator::Power => left.powf(right),
        Operator::Atan2 => left.atan2(right),
        Operator::Equal => truth(left == right),
        Operator::NotEqual => truth(left != right),
        Operator::Less => truth(left < right),
        Operator::LessOrEqual => truth(left <= right),
        Operator::Greater => truth(left > right),
        Operator::GreaterOrEqual => truth(left >= right),
    }
}

/// A number at each step and the side it stands on.
#[derive(Debug)]
pub(super) struct ScalarSide {
    pub(super) numbers: Vec<f64>,
    pub(super) is_left: bool,
}

impl Evaluation<'_> {
    /// Combines each value with a number. A comparison keeps the vector's value and the metric name.
    pub(super) fn with_scalar(
        &self,
        operator: Operator,
        vector: &Vector,
        scalar: &ScalarSide,
        is_bool: bool,
        grid: &Grid,
        sink: Sink<'_>,
    ) -> Result<()> {
        let map = &mut |row: &mut [f64]| {
            for (value, number) in row.iter_mut().zip(&scalar.numbers).filter(|(v, _)| is_present(**v)) {
                let (left, right) = if scalar.is_left { (*number, *value) } else { (*value, *number) };
                *value = filtered(operator, left, right, is_bool, *value);
            }
        };
        if operator.is_comparison() && !is_bool {
            return self.each_row(vector, grid, &mut |labels, row| {
                map(row);
                sink(labels, row)
            });
        }
        self.mapped(vector, grid, sink, map)
    }
}
