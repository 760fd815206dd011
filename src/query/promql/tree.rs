//! The typed plan of a query: what the evaluator walks. Functions are resolved, regexes compiled, types checked.

use super::eval::apply;
use super::functions::{PerWindow, ValueFunction};
use super::lookback::Shift;
use super::syntax::{Extent, Span};
use crate::model::{AnchoredRegex, Labels, Matcher};

/// A whole query, by the type of its answer.
#[derive(Debug)]
pub(super) enum Plan {
    /// One number a step.
    Scalar(Scalar),
    /// An instant vector.
    Vector(Vector),
    /// A range vector.
    Range(Range),
    /// A text.
    Text(String),
}

impl Plan {
    /// Returns the plan, such that it is known what it takes. Numbers take nothing.
    pub(super) fn traced(self, span: Span) -> Plan {
        match self {
            Plan::Scalar(Scalar::Number(_)) | Plan::Text(_) => self,
            Plan::Scalar(scalar) => Plan::Scalar(Scalar::Traced(span, Box::new(scalar))),
            Plan::Vector(vector) => Plan::Vector(Vector::Traced(span, Box::new(vector))),
            Plan::Range(range) => Plan::Range(Range::Traced(span, Box::new(range))),
        }
    }
}

/// A node that gives one number a step.
#[derive(Debug)]
pub(super) enum Scalar {
    /// Always the same.
    Number(f64),
    /// The step's time in seconds.
    Time,
    /// The only value of a vector, or NaN.
    Only(Box<Vector>),
    /// The other sign.
    Negate(Box<Scalar>),
    /// Operations one after the other, each with a further number; comparisons give 0 or 1. A list, because a chain may
    /// be longer than calls may nest.
    Chain(Box<Scalar>, Vec<(Operator, Scalar)>),
    /// The smaller of two.
    Smaller(Box<Scalar>, Box<Scalar>),
    /// The larger of two.
    Larger(Box<Scalar>, Box<Scalar>),
    /// One of which it is to be known what it takes.
    Traced(Span, Box<Scalar>),
}

impl Scalar {
    /// Returns the number with one more operation on it.
    pub(super) fn then(self, operator: Operator, right: Scalar) -> Scalar {
        match (self, right) {
            (Scalar::Number(left), Scalar::Number(right)) => Scalar::Number(apply(operator, left, right)),
            (Scalar::Chain(first, mut steps), right) => {
                steps.push((operator, right));
                Scalar::Chain(first, steps)
            }
            (first, right) => Scalar::Chain(Box::new(first), vec![(operator, right)]),
        }
    }
}

/// A node that gives an instant vector at each step.
#[derive(Debug)]
pub(super) enum Vector {
    /// No series: what functions of native histograms answer for floats.
    Nothing(Box<Vector>),
    /// Series from the store.
    Select(Selector),
    /// The times of their samples.
    SampleTimes(Selector),
    /// The step's time for each sample of another vector.
    StepTimes(Box<Vector>),
    /// One series without labels.
    OfScalar(Scalar),
    /// The other sign.
    Negate(Box<Vector>),
    /// A function of each value.
    PerValue {
        /// The arithmetic.
        function: ValueFunction,
        /// What it is applied to.
        input: Box<Vector>,
        /// Further arguments.
        scalars: Vec<Scalar>,
    },
    /// A part of each value as a time.
    Calendar(fn(f64) -> f64, Box<Vector>),
    /// A function of windows.
    PerWindow {
        /// Its row in the table.
        row: PerWindow,
        /// What it is applied to.
        input: Range,
        /// Further arguments.
        scalars: Vec<Scalar>,
        /// Where its first argument stands.
        place: usize,
    },
    /// 1 where the input has nothing.
    Absent(Box<Vector>, Labels),
    /// 1 where the input's windows have nothing.
    AbsentOverTime(Range, Labels),
    /// Another order, for instant queries, and where it is asked for.
    Sort(Box<Vector>, Order, usize),
    /// A label made from another.
    LabelReplace {
        /// What it is applied to.
        input: Box<Vector>,
        /// The label to set.
        target: String,
        /// Its new value, with references to groups.
        replacement: String,
        /// The label to look at.
        source: String,
        /// What it has to match.
        regex: AnchoredRegex,
    },
    /// A label made from others.
    LabelJoin {
        /// What it is applied to.
        input: Box<Vector>,
        /// The label to set.
        target: String,
        /// What stands between.
        separator: String,
        /// The labels to join.
        sources: Vec<String>,
    },
    /// Something worked out of classic histogram buckets, and where those stand.
    Histogram(Box<Vector>, OfBuckets, usize),
    /// Totals by group.
    Aggregate(Total, Box<Vector>, Grouping),
    /// Chosen or collected values by group.
    Rank(Ranking, Box<Vector>, Grouping),
    /// Operations one after the other. A list, because a chain may be longer than calls may nest.
    Chain(Box<Vector>, Vec<Step>),
    /// Labels of info series added.
    Info(Box<Vector>, Info),
    /// One of which it is to be known what it takes.
    Traced(Span, Box<Vector>),
}

impl Vector {
    /// Returns the vector without anybody wanting to know what it takes.
    pub(super) fn untraced(self) -> Vector {
        match self {
            Vector::Traced(_, vector) => *vector,
            other => other,
        }
    }

    /// Returns the vector with one more operation on it.
    pub(super) fn then(self, step: Step) -> Vector {
        match self {
            Vector::Chain(first, mut steps) => {
                steps.push(step);
                Vector::Chain(first, steps)
            }
            first => Vector::Chain(Box::new(first), vec![step]),
        }
    }
}

/// An operation on what the steps before gave.
#[derive(Debug)]
pub(super) enum Step {
    /// With a number.
    Number(WithNumber),
    /// With the matching series of another vector.
    Join(Join),
    /// A set operation with another vector.
    Set(SetOperator, Vector, Matching),
}

/// An operation of a vector and a number.
#[derive(Debug)]
pub(super) struct WithNumber {
    /// The operation.
    pub(super) operator: Operator,
    /// The number.
    pub(super) scalar: Scalar,
    /// Whether the number stands on the left.
    pub(super) is_left: bool,
    /// Whether a comparison gives 0 and 1 instead of filtering.
    pub(super) is_bool: bool,
}

impl WithNumber {
    /// Tells whether it only leaves samples out.
    pub(super) fn is_filter(&self) -> bool {
        self.operator.is_comparison() && !self.is_bool
    }
}

/// Series from the store.
#[derive(Debug)]
pub(super) struct Selector {
    /// What their labels have to pass.
    pub(super) matchers: Vec<Matcher>,
    /// Where it looks.
    pub(super) shift: Shift,
    /// Whether the samples around are taken too.
    pub(super) extent: Extent,
}

/// What gives windows of samples.
#[derive(Debug)]
pub(super) enum Range {
    /// Series from the store; length in milliseconds.
    Select(Selector, i64),
    /// A vector evaluated at multiples of `step`.
    Subquery {
        /// The vector.
        input: Box<Vector>,
        /// Length in milliseconds.
        range: i64,
        /// Milliseconds between its steps.
        step: i64,
        /// Where it looks.
        shift: Shift,
    },
    /// One of which it is to be known what it takes.
    Traced(Span, Box<Range>),
}

impl Range {
    /// Returns whether the samples around the windows are taken too.
    pub(super) fn extent_of_samples(&self) -> Extent {
        match self {
            Range::Select(selector, _) => selector.extent,
            Range::Subquery { .. } => Extent::Plain,
            Range::Traced(_, input) => input.extent_of_samples(),
        }
    }

    /// Returns where it looks and the length of its windows in milliseconds.
    pub(super) fn extent(&self) -> (Shift, i64) {
        match self {
            Range::Select(selector, range) => (selector.shift, *range),
            Range::Subquery { range, shift, .. } => (*shift, *range),
            Range::Traced(_, input) => input.extent(),
        }
    }
}

/// Arithmetic and comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
    /// `^`
    Power,
    /// `atan2`
    Atan2,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Operator {
    /// Tells whether it compares.
    pub(super) fn is_comparison(self) -> bool {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | LessOrEqual | Greater | GreaterOrEqual)
    }
}

/// Operations on sets of series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetOperator {
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

/// Which labels of two series have to agree.
#[derive(Debug)]
pub(super) struct Matching {
    /// The labels named.
    pub(super) names: Vec<String>,
    /// Whether only they count (`on`) or all others (`ignoring`).
    pub(super) is_on: bool,
}

impl Matching {
    /// Returns the labels that have to agree.
    pub(super) fn key(&self, labels: &Labels) -> Labels {
        if self.is_on { labels.keep(&self.names) } else { labels.without_name().drop(&self.names) }
    }
}

/// How many series of each side may match.
#[derive(Debug)]
pub(super) enum Cardinality {
    /// One of each.
    OneToOne,
    /// Many of the left (`group_left`), which get these labels of the right.
    ManyToOne(Vec<String>),
    /// Many of the right (`group_right`), which get these labels of the left.
    OneToMany(Vec<String>),
}

/// An operation on matching series of two vectors.
#[derive(Debug)]
pub(super) struct Join {
    /// The operation.
    pub(super) operator: Operator,
    /// Right side.
    pub(super) right: Vector,
    /// What has to agree.
    pub(super) matching: Matching,
    /// How many may match.
    pub(super) cardinality: Cardinality,
    /// Whether a comparison gives 0 and 1 instead of filtering.
    pub(super) is_bool: bool,
    /// Value of a left side that is not there.
    pub(super) fill_left: Option<f64>,
    /// Value of a right side that is not there.
    pub(super) fill_right: Option<f64>,
}

/// `by` or `without`.
#[derive(Debug)]
pub(super) struct Grouping {
    /// The labels named.
    pub(super) names: Vec<String>,
    /// Whether they are left out instead of kept.
    pub(super) is_without: bool,
}

impl Grouping {
    /// Returns the labels of the group that a series belongs to.
    pub(super) fn key(&self, labels: &Labels) -> Labels {
        match (self.is_without, self.names.as_slice()) {
            (true, names) => labels.without_name().drop(names),
            (false, []) => Labels::empty(),
            (false, names) => labels.keep(names),
        }
    }
}

/// Aggregations with running totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Total {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `count`
    Count,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
}

/// Aggregations that choose or collect values.
#[derive(Debug)]
pub(super) enum Ranking {
    /// `topk`
    Largest(Scalar),
    /// `bottomk`
    Smallest(Scalar),
    /// `quantile`, and where its parameter stands.
    Quantile(Scalar, usize),
    /// `limitk`
    Limit(Scalar),
    /// `limit_ratio`, and where its parameter stands.
    Ratio(Scalar, usize),
    /// `count_values`: the label that gets the value.
    CountValues(String),
}

/// What is worked out of buckets.
#[derive(Debug)]
pub(super) enum OfBuckets {
    /// A quantile, and where it stands.
    Quantile(Scalar, usize),
    /// Several, told apart by a label, and where they stand.
    Quantiles(String, Vec<(Scalar, usize)>),
    /// The part of observations between two values.
    Fraction(Scalar, Scalar),
}

/// An order of series.
#[derive(Debug)]
pub(super) enum Order {
    /// By value, rising.
    Rising,
    /// By value, falling.
    Falling,
    /// By these labels, in natural order; then by all.
    Labels(Vec<String>),
    /// The other way round.
    LabelsFalling(Vec<String>),
}

/// Which info series, and which of their labels, are joined.
#[derive(Debug)]
pub(super) struct Info {
    /// What the info series' names have to pass.
    pub(super) names: Vec<Matcher>,
    /// What their data labels have to pass; empty means all labels are taken.
    pub(super) data: Vec<Matcher>,
    /// Where they are looked up: as the vector's own selectors.
    pub(super) shift: Shift,
}
