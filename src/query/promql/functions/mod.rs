//! The table of functions: name, shape, implementation. The evaluator does the rest (steps, labels, dropping the
//! metric name, staleness, limits), so a function is only its arithmetic.

mod calendar;
mod change;
mod extended;
pub(super) mod histogram;
pub(super) mod labels;
mod math;
mod over_time;
mod rate;
pub(super) mod sort;
mod trend;

pub(super) use self::extended::between;
use super::syntax::Extent;
use super::window::Window;

/// What a window function gets besides the window.
#[derive(Debug)]
pub(super) struct Arguments<'a> {
    /// Values of its scalar arguments at this step.
    pub(super) scalars: &'a [f64],
    /// Room to sort in, so that no step allocates.
    pub(super) scratch: &'a mut Vec<f64>,
}

/// A function of one number and scalars; [`super::columns::ABSENT`] leaves the sample out.
pub(super) type ValueFunction = fn(f64, &[f64]) -> f64;

/// A function of the samples of one series in a window and scalars.
pub(super) type WindowFunction = fn(&Window<'_>, &mut Arguments<'_>) -> Option<f64>;

/// What may be demanded of scalar arguments; the error says what is wrong.
pub(super) type Check = fn(&[f64]) -> Result<(), String>;

/// A row for functions of windows.
#[derive(Debug, Clone, Copy)]
pub(super) struct PerWindow {
    /// The arithmetic.
    pub(super) function: WindowFunction,
    /// What a window function may demand of its scalars.
    pub(super) check: Option<Check>,
    /// Whether the result is still the metric itself and keeps its name.
    pub(super) keeps_name: bool,
    /// What may be wrong with the question.
    pub(super) remark: Remark,
}

/// What may be wrong with a question about windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remark {
    /// Nothing.
    None,
    /// Asked of something whose name is not that of a counter.
    NotACounter,
    /// A quantile outside of 0 to 1.
    Quantile,
}

/// Functions of a whole instant vector at one step, of which each is its own node of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// `absent(v)`
    Absent,
    /// `absent_over_time(r)`
    AbsentOverTime,
    /// `scalar(v)`
    Scalar,
    /// `vector(s)`
    Vector,
    /// `timestamp(v)`
    Timestamp,
    /// `sort(v)`
    Sort,
    /// `sort_desc(v)`
    SortDesc,
    /// `sort_by_label(v, ...)`
    SortByLabel,
    /// `sort_by_label_desc(v, ...)`
    SortByLabelDesc,
    /// `label_replace(...)`
    LabelReplace,
    /// `label_join(...)`
    LabelJoin,
    /// `histogram_quantile(q, v)`
    HistogramQuantile,
    /// `histogram_quantiles(v, label, q, ...)`
    HistogramQuantiles,
    /// `histogram_fraction(low, high, v)`
    HistogramFraction,
    /// `info(v, selector)`
    Info,
}

/// Functions without input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// `time()`: the step's time in seconds.
    Time,
    /// `pi()`
    Pi,
    /// `start()`: the query's first step in seconds.
    Start,
    /// `end()`: its last step in seconds.
    End,
    /// `step()`: their distance in seconds.
    Step,
    /// `range()`: from start to end in seconds.
    Range,
    /// `min_of(a, b)`, of scalars.
    MinOf,
    /// `max_of(a, b)`, of scalars.
    MaxOf,
}

/// How a function is applied.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// To each value.
    Value(ValueFunction),
    /// To each value as a time; to the step's time without an argument.
    Calendar(fn(f64) -> f64),
    /// To each window of a series.
    Window(PerWindow),
    /// To a whole instant vector.
    Whole(Whole),
    /// To the step, or to scalars.
    Input(Input),
    /// To native histograms only, which are not stored here: has no answer for floats.
    Native,
}

/// How each function is applied. What it takes and gives is in `syntax/signatures.rs`; a test holds both together.
pub(super) const FUNCTIONS: &[(&str, Shape)] = &[
    ("abs", Shape::Value(|v, _| v.abs())),
    ("acos", Shape::Value(|v, _| v.acos())),
    ("acosh", Shape::Value(|v, _| v.acosh())),
    ("asin", Shape::Value(|v, _| v.asin())),
    ("asinh", Shape::Value(|v, _| v.asinh())),
    ("atan", Shape::Value(|v, _| v.atan())),
    ("atanh", Shape::Value(|v, _| v.atanh())),
    ("ceil", Shape::Value(|v, _| v.ceil())),
    ("clamp", Shape::Value(math::clamp)),
    ("clamp_max", Shape::Value(math::clamp_max)),
    ("clamp_min", Shape::Value(math::clamp_min)),
    ("cos", Shape::Value(|v, _| v.cos())),
    ("cosh", Shape::Value(|v, _| v.cosh())),
    ("deg", Shape::Value(|v, _| v.to_degrees())),
    ("exp", Shape::Value(|v, _| v.exp())),
    ("floor", Shape::Value(|v, _| v.floor())),
    ("ln", Shape::Value(|v, _| v.ln())),
    ("log10", Shape::Value(|v, _| v.log10())),
    ("log2", Shape::Value(|v, _| v.log2())),
    ("rad", Shape::Value(|v, _| v.to_radians())),
    ("round", Shape::Value(math::round)),
    ("sgn", Shape::Value(|v, _| math::sgn(v))),
    ("sin", Shape::Value(|v, _| v.sin())),
    ("sinh", Shape::Value(|v, _| v.sinh())),
    ("sqrt", Shape::Value(|v, _| v.sqrt())),
    ("tan", Shape::Value(|v, _| v.tan())),
    ("tanh", Shape::Value(|v, _| v.tanh())),
    ("day_of_month", Shape::Calendar(calendar::day_of_month)),
    ("day_of_week", Shape::Calendar(calendar::day_of_week)),
    ("day_of_year", Shape::Calendar(calendar::day_of_year)),
    ("days_in_month", Shape::Calendar(calendar::days_in_month)),
    ("hour", Shape::Calendar(calendar::hour)),
    ("minute", Shape::Calendar(calendar::minute)),
    ("month", Shape::Calendar(calendar::month)),
    ("year", Shape::Calendar(calendar::year)),
    ("rate", counter(rate::rate)),
    ("increase", counter(rate::increase)),
    ("irate", counter(rate::irate)),
    ("delta", window(rate::delta)),
    ("idelta", window(rate::idelta)),
    ("deriv", window(trend::deriv)),
    ("predict_linear", window(trend::predict_linear)),
    // The old name still stands in rules from the internet.
    ("double_exponential_smoothing", SMOOTHING),
    ("holt_winters", SMOOTHING),
    ("changes", window(change::changes)),
    ("resets", window(change::resets)),
    ("avg_over_time", window(over_time::avg)),
    ("count_over_time", window(over_time::count)),
    ("first_over_time", keeping_name(over_time::first)),
    ("last_over_time", keeping_name(over_time::last)),
    ("mad_over_time", window(over_time::mad)),
    ("max_over_time", window(over_time::max)),
    ("min_over_time", window(over_time::min)),
    ("present_over_time", window(over_time::present)),
    (
        "quantile_over_time",
        Shape::Window(PerWindow { remark: Remark::Quantile, ..per_window(over_time::quantile_over) }),
    ),
    ("stddev_over_time", window(over_time::stddev)),
    ("stdvar_over_time", window(over_time::stdvar)),
    ("sum_over_time", window(over_time::sum)),
    ("ts_of_first_over_time", window(over_time::ts_of_first)),
    ("ts_of_last_over_time", window(over_time::ts_of_last)),
    ("ts_of_max_over_time", window(over_time::ts_of_max)),
    ("ts_of_min_over_time", window(over_time::ts_of_min)),
    ("absent", Shape::Whole(Whole::Absent)),
    ("absent_over_time", Shape::Whole(Whole::AbsentOverTime)),
    ("histogram_fraction", Shape::Whole(Whole::HistogramFraction)),
    ("histogram_quantile", Shape::Whole(Whole::HistogramQuantile)),
    ("histogram_quantiles", Shape::Whole(Whole::HistogramQuantiles)),
    ("info", Shape::Whole(Whole::Info)),
    ("label_join", Shape::Whole(Whole::LabelJoin)),
    ("label_replace", Shape::Whole(Whole::LabelReplace)),
    ("scalar", Shape::Whole(Whole::Scalar)),
    ("sort", Shape::Whole(Whole::Sort)),
    ("sort_by_label", Shape::Whole(Whole::SortByLabel)),
    ("sort_by_label_desc", Shape::Whole(Whole::SortByLabelDesc)),
    ("sort_desc", Shape::Whole(Whole::SortDesc)),
    ("timestamp", Shape::Whole(Whole::Timestamp)),
    ("vector", Shape::Whole(Whole::Vector)),
    ("end", Shape::Input(Input::End)),
    ("max_of", Shape::Input(Input::MaxOf)),
    ("min_of", Shape::Input(Input::MinOf)),
    ("pi", Shape::Input(Input::Pi)),
    ("range", Shape::Input(Input::Range)),
    ("start", Shape::Input(Input::Start)),
    ("step", Shape::Input(Input::Step)),
    ("time", Shape::Input(Input::Time)),
    ("histogram_avg", Shape::Native),
    ("histogram_count", Shape::Native),
    ("histogram_stddev", Shape::Native),
    ("histogram_stdvar", Shape::Native),
    ("histogram_sum", Shape::Native),
];

/// `double_exponential_smoothing`, by its name and the old one.
const SMOOTHING: Shape =
    Shape::Window(PerWindow { check: Some(trend::check_factors), ..per_window(trend::double_exponential_smoothing) });

/// Returns how a function is applied; `None` if it is not known.
pub(super) fn find(name: &str) -> Option<Shape> {
    FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, shape)| *shape)
}

/// Returns the row of a function of windows that come with the samples around them; the error names the functions that
/// there are.
pub(super) fn find_extended(name: &str, extent: Extent, row: PerWindow) -> Result<PerWindow, String> {
    let (modifier, known) = match extent {
        Extent::Plain => return Ok(row),
        Extent::Anchored => ("anchored", "changes, delta, increase, rate, resets"),
        Extent::Smoothed => ("smoothed", "delta, increase, rate"),
    };
    let function: WindowFunction = match (extent, name) {
        (Extent::Anchored, "changes") => extended::anchored_changes,
        (Extent::Anchored, "delta") => extended::anchored_delta,
        (Extent::Anchored, "increase") => extended::anchored_increase,
        (Extent::Anchored, "rate") => extended::anchored_rate,
        (Extent::Anchored, "resets") => extended::anchored_resets,
        (Extent::Smoothed, "delta") => extended::smoothed_delta,
        (Extent::Smoothed, "increase") => extended::smoothed_increase,
        (Extent::Smoothed, "rate") => extended::smoothed_rate,
        _ => return Err(format!("{modifier} modifier can only be used with: {known} - not with {name}")),
    };
    Ok(PerWindow { function, ..row })
}

const fn per_window(function: WindowFunction) -> PerWindow {
    PerWindow { function, check: None, keeps_name: false, remark: Remark::None }
}

const fn window(function: WindowFunction) -> Shape {
    Shape::Window(per_window(function))
}

const fn counter(function: WindowFunction) -> Shape {
    Shape::Window(PerWindow { remark: Remark::NotACounter, ..per_window(function) })
}

const fn keeping_name(function: WindowFunction) -> Shape {
    Shape::Window(PerWindow { keeps_name: true, ..per_window(function) })
}
