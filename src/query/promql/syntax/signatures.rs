//! What functions take and give.

use super::ast::Type::{self, Matrix, Scalar, Text, Vector};

/// A function's types.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signature {
    pub(crate) name: &'static str,
    /// Types of the arguments; the last also of all further ones.
    pub(crate) arguments: &'static [Type],
    /// How often the last argument may come.
    pub(crate) last: Last,
    pub(crate) returns: Type,
}

/// How often the last argument may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    /// Once.
    Once,
    /// Up to so often, or not at all.
    UpTo(usize),
    /// As often as one likes, or not at all.
    Any,
}

/// Returns a function's types.
pub(crate) fn signature(name: &str) -> Option<&'static Signature> {
    SIGNATURES.binary_search_by_key(&name, |s| s.name).ok().and_then(|at| SIGNATURES.get(at))
}

/// Returns all functions, by name.
pub(crate) fn signatures() -> &'static [Signature] {
    SIGNATURES
}

const fn of(name: &'static str, arguments: &'static [Type], returns: Type) -> Signature {
    Signature { name, arguments, last: Last::Once, returns }
}

const fn of_vector(name: &'static str) -> Signature {
    of(name, &[Vector], Vector)
}

const fn of_window(name: &'static str) -> Signature {
    of(name, &[Matrix], Vector)
}

const fn of_time(name: &'static str) -> Signature {
    Signature { name, arguments: &[Vector], last: Last::UpTo(1), returns: Vector }
}

/// By name.
const SIGNATURES: &[Signature] = &[
    of_vector("abs"),
    of_vector("absent"),
    of_window("absent_over_time"),
    of_vector("acos"),
    of_vector("acosh"),
    of_vector("asin"),
    of_vector("asinh"),
    of_vector("atan"),
    of_vector("atanh"),
    of_window("avg_over_time"),
    of_vector("ceil"),
    of_window("changes"),
    of("clamp", &[Vector, Scalar, Scalar], Vector),
    of("clamp_max", &[Vector, Scalar], Vector),
    of("clamp_min", &[Vector, Scalar], Vector),
    of_vector("cos"),
    of_vector("cosh"),
    of_window("count_over_time"),
    of_time("day_of_month"),
    of_time("day_of_week"),
    of_time("day_of_year"),
    of_time("days_in_month"),
    of_vector("deg"),
    of_window("delta"),
    of_window("deriv"),
    of("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Vector),
    of("end", &[], Scalar),
    of_vector("exp"),
    of_window("first_over_time"),
    of_vector("floor"),
    of_vector("histogram_avg"),
    of_vector("histogram_count"),
    of("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    of("histogram_quantile", &[Scalar, Vector], Vector),
    Signature {
        name: "histogram_quantiles",
        arguments: &[Vector, Text, Scalar, Scalar],
        last: Last::UpTo(9),
        returns: Vector,
    },
    of_vector("histogram_stddev"),
    of_vector("histogram_stdvar"),
    of_vector("histogram_sum"),
    of("holt_winters", &[Matrix, Scalar, Scalar], Vector),
    of_time("hour"),
    of_window("idelta"),
    of_window("increase"),
    Signature { name: "info", arguments: &[Vector, Vector], last: Last::UpTo(1), returns: Vector },
    of_window("irate"),
    Signature { name: "label_join", arguments: &[Vector, Text, Text, Text], last: Last::Any, returns: Vector },
    of("label_replace", &[Vector, Text, Text, Text, Text], Vector),
    of_window("last_over_time"),
    of_vector("ln"),
    of_vector("log10"),
    of_vector("log2"),
    of_window("mad_over_time"),
    of("max_of", &[Scalar, Scalar], Scalar),
    of_window("max_over_time"),
    of("min_of", &[Scalar, Scalar], Scalar),
    of_window("min_over_time"),
    of_time("minute"),
    of_time("month"),
    of("pi", &[], Scalar),
    of("predict_linear", &[Matrix, Scalar], Vector),
    of_window("present_over_time"),
    of("quantile_over_time", &[Scalar, Matrix], Vector),
    of_vector("rad"),
    of("range", &[], Scalar),
    of_window("rate"),
    of_window("resets"),
    Signature { name: "round", arguments: &[Vector, Scalar], last: Last::UpTo(1), returns: Vector },
    of("scalar", &[Vector], Scalar),
    of_vector("sgn"),
    of_vector("sin"),
    of_vector("sinh"),
    of_vector("sort"),
    Signature { name: "sort_by_label", arguments: &[Vector, Text], last: Last::Any, returns: Vector },
    Signature { name: "sort_by_label_desc", arguments: &[Vector, Text], last: Last::Any, returns: Vector },
    of_vector("sort_desc"),
    of_vector("sqrt"),
    of("start", &[], Scalar),
    of_window("stddev_over_time"),
    of_window("stdvar_over_time"),
    of("step", &[], Scalar),
    of_window("sum_over_time"),
    of_vector("tan"),
    of_vector("tanh"),
    of("time", &[], Scalar),
    of_vector("timestamp"),
    of_window("ts_of_first_over_time"),
    of_window("ts_of_last_over_time"),
    of_window("ts_of_max_over_time"),
    of_window("ts_of_min_over_time"),
    of("vector", &[Scalar], Vector),
    of_time("year"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::query::promql::functions::{FUNCTIONS, Shape, Whole, find};

    /// Tells whether a function of this shape can have these types.
    fn fits(shape: Shape, of: &Signature) -> bool {
        let count = |wanted| of.arguments.iter().filter(|given| **given == wanted).count();
        let only: &[Type] = match shape {
            Shape::Value(_) | Shape::Native => return count(Vector) >= 1 && of.returns == Vector,
            Shape::Window(_) => return count(Matrix) == 1 && count(Vector) == 0 && of.returns == Vector,
            Shape::Input(_) => return count(Scalar) == of.arguments.len() && of.returns == Scalar,
            Shape::Whole(Whole::Scalar) => return of.arguments == [Vector] && of.returns == Scalar,
            Shape::Calendar(_) => &[Vector],
            Shape::Whole(Whole::Vector) => &[Scalar],
            Shape::Whole(Whole::AbsentOverTime) => &[Matrix],
            Shape::Whole(_) => return count(Vector) >= 1 && of.returns == Vector,
        };
        of.arguments == only && of.returns == Vector
    }

    #[test]
    fn what_can_be_called_is_what_can_be_worked_out() {
        let callable: BTreeSet<&str> = SIGNATURES.iter().map(|s| s.name).collect();
        let known: BTreeSet<&str> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
        assert_eq!(callable, known);
        assert_eq!(known.len(), FUNCTIONS.len(), "one row a function");
        for signature in SIGNATURES {
            assert!(find(signature.name).is_some_and(|shape| fits(shape, signature)), "{signature:?}");
        }
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(SIGNATURES.is_sorted_by(|a, b| a.name < b.name));
    }
}
