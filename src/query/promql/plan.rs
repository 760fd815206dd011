//! The syntax tree to the typed plan: functions looked up once, regexes compiled, types checked, constants
//! folded, what is not supported refused by name.

use super::eval::Repeated;
use super::functions::{self, Input, PerWindow, Shape, ValueFunction, Whole};
use super::lookback::Shift;
use super::syntax;
use super::syntax::{
    Aggregate, At, Binary, Call, Expr, Extent, LabelMatcher, Length, Node, Operation, Place, Spans, Subquery, error_at,
};
use super::tree::{
    Cardinality, Grouping, Info, Join, Matching, OfBuckets, Order, Plan, Range, Ranking, Scalar, Selector, Step, Total,
    Vector, WithNumber,
};
use super::{Error, Result};
use crate::model::{AnchoredRegex, LABEL_NAME, Labels, MatchOp, Matcher};

/// Upper bound of operations within operations, however they are written: the evaluator calls itself for each.
const DEPTH_MAX: usize = 128;

/// What stands deeper is not traced by itself: a trace makes calls nest deeper.
const TRACED_DEPTH_MAX: usize = 64;

/// The operations of a longer chain are not traced one by one.
const TRACED_CHAIN_MAX: usize = 32;

/// Upper bound of a duration, in seconds: 292 years, as upstream's 64-bit nanoseconds.
const SECONDS_MAX: f64 = 9_223_372_036.0;

/// Name of the info metric where `info` names none.
const INFO_METRIC: &str = "target_info";

/// Names of info metrics where `info` says only which ones it does not want.
const INFO_METRICS: &str = ".+_info";

/// Turns trees into plans for one query.
#[derive(Debug)]
pub(super) struct Planner<'t> {
    /// The query's text, for the places of errors.
    pub(super) text: &'t str,
    /// The query's first step: what `start()` and `@ start()` mean.
    pub(super) start: i64,
    /// Its end as asked for, which `end()`, `range()` and `@ end()` mean; the last step may be earlier.
    pub(super) end: i64,
    /// What `step()` is, milliseconds: 0 for an instant query.
    pub(super) step_ms: i64,
    /// Step of subqueries that do not name one, milliseconds.
    pub(super) default_step_ms: i64,
    /// Whether somebody wants to know what the parts take.
    pub(super) is_traced: bool,
    /// Counts the selectors, if the plan is to be worked out.
    pub(super) repeated: Option<&'t Repeated>,
}

impl Planner<'_> {
    /// Returns the plan of a tree.
    pub(super) fn plan(&self, tree: &Expr) -> Result<Plan> {
        self.node(tree, 0)
    }

    /// Returns the plan of a node.
    fn node(&self, tree: &Expr, depth: usize) -> Result<Plan> {
        self.check_depth(depth)?;
        let is_part = !matches!(tree.node, Node::Paren(_) | Node::Unary { is_minus: false, .. });
        let plan = self.bare(tree, depth)?;
        Ok(if self.is_traced && is_part && depth <= TRACED_DEPTH_MAX { plan.traced(tree.span) } else { plan })
    }

    fn check_depth(&self, depth: usize) -> Result<()> {
        // A trace refuses nothing that is answered without one.
        let max = if self.is_traced { DEPTH_MAX + TRACED_DEPTH_MAX + TRACED_CHAIN_MAX } else { DEPTH_MAX };
        if depth > max {
            return Err(Error::Limit(format!("query nests deeper than {DEPTH_MAX} operations")));
        }
        Ok(())
    }

    /// Returns the plan of a node, which nobody traces. It only passes on to the method of the node's kind, so that its
    /// frame stays small: the stack holds one for each level.
    fn bare(&self, tree: &Expr, depth: usize) -> Result<Plan> {
        match &tree.node {
            Node::Number(number) | Node::Duration(number) => Ok(Plan::Scalar(Scalar::Number(*number))),
            Node::Text(text) => Ok(Plan::Text(text.clone())),
            Node::Paren(inner) | Node::Unary { is_minus: false, inner } => self.node(inner, depth + 1),
            Node::Unary { is_minus: true, inner } => self.negated(inner, depth + 1),
            Node::Selector(selector) => self.selector(selector).map(|s| Plan::Vector(Vector::Select(s))),
            Node::Range(selector, length) => {
                Ok(Plan::Range(Range::Select(self.selector(selector)?, self.length(length)?)))
            }
            Node::Subquery(subquery) => self.subquery(subquery, depth + 1),
            Node::Binary(binary) => self.chain(binary, depth + 1),
            Node::Aggregate(aggregate) => self.aggregate(aggregate, depth + 1),
            Node::Call(call) => self.call(call, tree, depth + 1),
        }
    }

    fn negated(&self, tree: &Expr, depth: usize) -> Result<Plan> {
        match self.node(tree, depth)? {
            Plan::Scalar(Scalar::Number(number)) => Ok(Plan::Scalar(Scalar::Number(-number))),
            Plan::Scalar(scalar) => Ok(Plan::Scalar(Scalar::Negate(Box::new(scalar)))),
            Plan::Vector(vector) => Ok(Plan::Vector(Vector::Negate(Box::new(vector)))),
            Plan::Range(_) | Plan::Text(_) => {
                Err(refused("unary expression only allowed on expressions of type scalar or instant vector"))
            }
        }
    }

    fn subquery(&self, subquery: &Subquery, depth: usize) -> Result<Plan> {
        let input = self.boxed(&subquery.input, depth)?;
        let range = self.length(&subquery.range)?;
        let step = subquery.step.as_ref().map_or(Ok(self.default_step_ms), |step| self.length(step))?;
        Ok(Plan::Range(Range::Subquery { input, range, step, shift: self.shift(&subquery.place)? }))
    }

    fn boxed(&self, tree: &Expr, depth: usize) -> Result<Box<Vector>> {
        self.vector(tree, depth).map(Box::new)
    }

    fn vector(&self, tree: &Expr, depth: usize) -> Result<Vector> {
        match self.node(tree, depth)? {
            Plan::Vector(vector) => Ok(vector),
            other => Err(wrong_type("instant vector", &other)),
        }
    }

    fn scalar(&self, tree: &Expr, depth: usize) -> Result<Scalar> {
        match self.node(tree, depth)? {
            Plan::Scalar(scalar) => Ok(scalar),
            other => Err(wrong_type("scalar", &other)),
        }
    }

    fn range(&self, tree: &Expr, depth: usize) -> Result<Range> {
        match self.node(tree, depth)? {
            Plan::Range(range) => Ok(range),
            other => Err(wrong_type("range vector", &other)),
        }
    }

    fn text(&self, tree: &Expr, depth: usize) -> Result<String> {
        match self.node(tree, depth)? {
            Plan::Text(text) => Ok(text),
            other => Err(wrong_type("string", &other)),
        }
    }

    fn selector(&self, selector: &syntax::Selector) -> Result<Selector> {
        let (matchers, shift) = (self.matchers(selector)?, self.shift(&selector.place)?);
        if let Some(repeated) = self.repeated {
            repeated.count(&matchers);
        }
        Ok(Selector { matchers, shift, extent: selector.extent })
    }

    /// Returns the matchers of a selector, the metric name among them.
    fn matchers(&self, selector: &syntax::Selector) -> Result<Vec<Matcher>> {
        let mut found: Vec<Matcher> = selector.name.iter().map(|name| Matcher::equal(LABEL_NAME, name)).collect();
        for LabelMatcher { span, name, op, value } in &selector.matchers {
            let made = Matcher::new(name, *op, value);
            found.push(made.map_err(|e| error_at(self.text, span.start, e.to_string()))?);
        }
        Ok(found)
    }

    fn shift(&self, place: &Place) -> Result<Shift> {
        let at = match place.at {
            None => None,
            Some(At::Start) => Some(self.start),
            Some(At::End) => Some(self.end),
            Some(At::Time(seconds)) => Some(to_millis(seconds)),
        };
        let offset = place.offset.as_ref().map_or(Ok(0), |offset| self.milliseconds(offset))?;
        Ok(Shift { at, offset })
    }

    /// Returns a duration in milliseconds.
    fn milliseconds(&self, length: &Length) -> Result<i64> {
        let range = (self.end - self.start) as f64 / 1000.0;
        let seconds = length.seconds(Spans { step: self.step_ms as f64 / 1000.0, range }, self.text)?;
        if seconds.is_nan() || seconds.abs() > SECONDS_MAX {
            return Err(error_at(self.text, length.span.start, "duration out of range".to_owned()));
        }
        Ok(to_millis(seconds))
    }

    /// Returns a positive duration in milliseconds.
    fn length(&self, length: &Length) -> Result<i64> {
        let ms = self.milliseconds(length)?;
        if ms > 0 {
            return Ok(ms);
        }
        Err(error_at(self.text, length.span.start, "duration must be greater than 0".to_owned()))
    }

    /// Plans operations from left to right. What is worked out at once and operations on vectors do not nest; others
    /// do.
    fn chain(&self, last: &Binary, depth: usize) -> Result<Plan> {
        let mut chain = vec![last];
        while let Some(Node::Binary(before)) = chain.last().map(|b| &b.left.node) {
            chain.push(before);
        }
        let is_traced = self.is_traced && chain.len() <= TRACED_CHAIN_MAX && depth <= TRACED_DEPTH_MAX;
        let mut levels = if is_traced { depth + chain.len() } else { depth };
        let mut left = chain
            .last()
            .map_or_else(|| Err(refused("operation without operands")), |first| self.node(&first.left, levels))?;
        for (at, binary) in chain.iter().enumerate().rev() {
            left = self.binary(binary, left, depth)?;
            let is_flat =
                matches!(left, Plan::Scalar(Scalar::Number(_) | Scalar::Chain(..)) | Plan::Vector(Vector::Chain(..)));
            levels += usize::from(!is_flat);
            self.check_depth(levels)?;
            // The last one is traced as a node.
            if is_traced && at > 0 {
                left = left.traced(binary.left.span.to(binary.right.span));
            }
        }
        Ok(left)
    }

    fn binary(&self, binary: &Binary, left: Plan, depth: usize) -> Result<Plan> {
        let right = self.node(&binary.right, depth)?;
        let is_bool = binary.is_bool;
        let operator = match binary.operation {
            Operation::Arithmetic(operator) => operator,
            Operation::Set(set) => {
                let (Plan::Vector(left), Plan::Vector(right)) = (left, right) else {
                    return Err(refused("set operators are only allowed between instant vectors"));
                };
                return Ok(Plan::Vector(left.then(Step::Set(set, right, matching(binary)))));
            }
            // Of native histograms, of which there are none here: floats fall away.
            Operation::TrimUpper | Operation::TrimLower => {
                let vectors = [left, right].into_iter().find_map(|side| match side {
                    Plan::Vector(vector) => Some(vector),
                    _ => None,
                });
                let vector = vectors.ok_or_else(|| refused("trim operators are only allowed on native histograms"))?;
                return Ok(Plan::Vector(Vector::Nothing(Box::new(vector))));
            }
        };
        Ok(match (left, right) {
            (Plan::Scalar(left), Plan::Scalar(right)) => Plan::Scalar(left.then(operator, right)),
            (Plan::Vector(vector), Plan::Scalar(scalar)) => {
                Plan::Vector(vector.then(Step::Number(WithNumber { operator, scalar, is_left: false, is_bool })))
            }
            (Plan::Scalar(scalar), Plan::Vector(vector)) => {
                Plan::Vector(vector.then(Step::Number(WithNumber { operator, scalar, is_left: true, is_bool })))
            }
            (Plan::Vector(left), Plan::Vector(right)) => Plan::Vector(left.then(Step::Join(Join {
                operator,
                right,
                matching: matching(binary),
                cardinality: cardinality(binary),
                is_bool,
                fill_left: binary.fill_left,
                fill_right: binary.fill_right,
            }))),
            _ => return Err(refused("binary expression must contain only scalar and instant vector types")),
        })
    }

    fn aggregate(&self, aggregate: &Aggregate, depth: usize) -> Result<Plan> {
        let input = self.boxed(&aggregate.input, depth)?;
        let (is_without, names) = aggregate.grouping.clone().unwrap_or_default();
        let grouping = Grouping { names, is_without };
        let total = match aggregate.name {
            "sum" => Some(Total::Sum),
            "avg" => Some(Total::Avg),
            "min" => Some(Total::Min),
            "max" => Some(Total::Max),
            "count" => Some(Total::Count),
            "group" => Some(Total::Group),
            "stddev" => Some(Total::Stddev),
            "stdvar" => Some(Total::Stdvar),
            _ => None,
        };
        Ok(Plan::Vector(match total {
            Some(total) => Vector::Aggregate(total, input, grouping),
            None => Vector::Rank(self.ranking(aggregate, depth)?, input, grouping),
        }))
    }

    fn ranking(&self, aggregate: &Aggregate, depth: usize) -> Result<Ranking> {
        let parameter = aggregate.parameter.as_ref().ok_or_else(|| missing(aggregate.name))?;
        if aggregate.name == "count_values" {
            let label = self.text(parameter, depth)?;
            if label.is_empty() {
                return Err(Error::Execution(format!("invalid label name {label:?}")));
            }
            return Ok(Ranking::CountValues(label));
        }
        let place = parameter.span.start;
        let parameter = self.scalar(parameter, depth)?;
        Ok(match aggregate.name {
            "topk" => Ranking::Largest(parameter),
            "bottomk" => Ranking::Smallest(parameter),
            "quantile" => Ranking::Quantile(parameter, place),
            "limitk" => Ranking::Limit(parameter),
            "limit_ratio" => Ranking::Ratio(parameter, place),
            name => return Err(refused(&format!("unknown aggregation {name}"))),
        })
    }

    fn call(&self, call: &Call, tree: &Expr, depth: usize) -> Result<Plan> {
        let arguments: Vec<&Expr> = call.arguments.iter().collect();
        let name = call.name.as_str();
        match (functions::find(name), arguments.as_slice()) {
            (Some(Shape::Value(function)), [input, rest @ ..]) => self.per_value(function, input, rest, depth),
            (Some(Shape::Calendar(part)), input) => self.calendar(part, input.first().copied(), depth),
            (Some(Shape::Window(row)), all) => self.per_window(name, row, all, depth),
            (Some(Shape::Whole(Whole::Scalar)), [input]) => {
                self.boxed(input, depth).map(|input| Plan::Scalar(Scalar::Only(input)))
            }
            (Some(Shape::Whole(whole)), all) => self.whole(whole, tree.span.start, name, all, depth).map(Plan::Vector),
            (Some(Shape::Input(input)), all) => self.input(input, name, all, depth).map(Plan::Scalar),
            (Some(Shape::Native), [input, ..]) => {
                self.boxed(input, depth).map(|input| Plan::Vector(Vector::Nothing(input)))
            }
            (Some(Shape::Value(_) | Shape::Native), []) => Err(missing(name)),
            (None, _) => Err(error_at(self.text, tree.span.start, format!("function {name:?} is not supported"))),
        }
    }

    fn scalars(&self, from: &[&Expr], depth: usize) -> Result<Vec<Scalar>> {
        from.iter().map(|a| self.scalar(a, depth)).collect()
    }

    fn per_value(&self, function: ValueFunction, input: &Expr, rest: &[&Expr], depth: usize) -> Result<Plan> {
        let input = self.boxed(input, depth)?;
        let scalars = self.scalars(rest, depth)?;
        Ok(Plan::Vector(Vector::PerValue { function, input, scalars }))
    }

    fn calendar(&self, part: fn(f64) -> f64, input: Option<&Expr>, depth: usize) -> Result<Plan> {
        let input = match input {
            Some(input) => self.boxed(input, depth)?,
            None => Box::new(Vector::OfScalar(Scalar::Time)),
        };
        Ok(Plan::Vector(Vector::Calendar(part, input)))
    }

    fn per_window(&self, name: &str, row: PerWindow, all: &[&Expr], depth: usize) -> Result<Plan> {
        // The range is the first argument that can be one; scalars stand before or after it.
        let at = all.iter().position(|a| is_range(a)).ok_or_else(|| missing(name))?;
        let rest: Vec<&Expr> = all.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, a)| *a).collect();
        let scalars = self.scalars(&rest, depth)?;
        let input = self.range(all.get(at).ok_or_else(|| missing(name))?, depth)?;
        let row = functions::find_extended(name, input.extent_of_samples(), row).map_err(Error::Execution)?;
        let place = all.first().map_or(0, |first| first.span.start);
        Ok(Plan::Vector(Vector::PerWindow { row, input, scalars, place }))
    }

    fn input(&self, input: Input, name: &str, arguments: &[&Expr], depth: usize) -> Result<Scalar> {
        let seconds = |ms: i64| Scalar::Number(ms as f64 / 1000.0);
        Ok(match (input, arguments) {
            (Input::Time, _) => Scalar::Time,
            (Input::Pi, _) => Scalar::Number(std::f64::consts::PI),
            (Input::Start, _) => seconds(self.start),
            (Input::End, _) => seconds(self.end),
            (Input::Step, _) => seconds(self.step_ms),
            (Input::Range, _) => seconds(self.end - self.start),
            (Input::MinOf, [a, b]) => {
                Scalar::Smaller(Box::new(self.scalar(a, depth)?), Box::new(self.scalar(b, depth)?))
            }
            (Input::MaxOf, [a, b]) => {
                Scalar::Larger(Box::new(self.scalar(a, depth)?), Box::new(self.scalar(b, depth)?))
            }
            (Input::MinOf | Input::MaxOf, _) => return Err(missing(name)),
        })
    }

    /// Plans a function of whole vectors that stands at `place`.
    fn whole(&self, whole: Whole, place: usize, name: &str, arguments: &[&Expr], depth: usize) -> Result<Vector> {
        match (whole, arguments) {
            (Whole::Vector, [input]) => self.scalar(input, depth).map(Vector::OfScalar),
            (Whole::Absent, [input]) => self.absent(input, depth),
            (Whole::AbsentOverTime, [input]) => self.absent_over_time(input, depth),
            (Whole::Timestamp, [input]) => self.timestamp(input, depth),
            (Whole::Sort, [input]) => self.sorted(input, Order::Rising, place, depth),
            (Whole::SortDesc, [input]) => self.sorted(input, Order::Falling, place, depth),
            (Whole::SortByLabel, [input, names @ ..]) => {
                self.texts(names, depth).and_then(|names| self.sorted(input, Order::Labels(names), place, depth))
            }
            (Whole::SortByLabelDesc, [input, names @ ..]) => {
                self.texts(names, depth).and_then(|names| self.sorted(input, Order::LabelsFalling(names), place, depth))
            }
            (Whole::LabelReplace, [input, rest @ ..]) => self.label_replace(input, rest, depth),
            (Whole::LabelJoin, [input, rest @ ..]) => self.label_join(input, rest, depth),
            (Whole::HistogramQuantile | Whole::HistogramQuantiles | Whole::HistogramFraction, all) => {
                self.histogram(whole, all, depth)
            }
            (Whole::Info, [input, rest @ ..]) => {
                self.boxed(input, depth).and_then(|input| self.info(input, rest.first().copied()))
            }
            _ => Err(missing(name)),
        }
    }

    fn absent(&self, input: &Expr, depth: usize) -> Result<Vector> {
        Ok(Vector::Absent(self.boxed(input, depth)?, self.equal_labels(input)?))
    }

    fn absent_over_time(&self, input: &Expr, depth: usize) -> Result<Vector> {
        Ok(Vector::AbsentOverTime(self.range(input, depth)?, self.equal_labels(input)?))
    }

    fn timestamp(&self, input: &Expr, depth: usize) -> Result<Vector> {
        Ok(match self.vector(input, depth)?.untraced() {
            // Of a selector it is the samples' own time, else the step's.
            Vector::Select(selector) => Vector::SampleTimes(selector),
            other => Vector::StepTimes(Box::new(other)),
        })
    }

    fn sorted(&self, input: &Expr, order: Order, place: usize, depth: usize) -> Result<Vector> {
        Ok(Vector::Sort(self.boxed(input, depth)?, order, place))
    }

    fn texts(&self, from: &[&Expr], depth: usize) -> Result<Vec<String>> {
        from.iter().map(|a| self.text(a, depth)).collect()
    }

    fn label_replace(&self, input: &Expr, rest: &[&Expr], depth: usize) -> Result<Vector> {
        let input = self.boxed(input, depth)?;
        let rest = <[String; 4]>::try_from(self.texts(rest, depth)?);
        let [target, replacement, source, pattern] = rest.map_err(|_| missing("label_replace"))?;
        check_label(&target, "destination", "label_replace")?;
        let regex = AnchoredRegex::new(&pattern)
            .map_err(|_| Error::Execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
        Ok(Vector::LabelReplace { input, target, replacement, source, regex })
    }

    fn label_join(&self, input: &Expr, rest: &[&Expr], depth: usize) -> Result<Vector> {
        let input = self.boxed(input, depth)?;
        let mut rest = self.texts(rest, depth)?.into_iter();
        let (Some(target), Some(separator)) = (rest.next(), rest.next()) else { return Err(missing("label_join")) };
        let sources: Vec<String> = rest.collect();
        check_label(&target, "destination", "label_join")?;
        sources.iter().try_for_each(|s| check_label(s, "source", "label_join"))?;
        Ok(Vector::LabelJoin { input, target, separator, sources })
    }

    fn histogram(&self, whole: Whole, arguments: &[&Expr], depth: usize) -> Result<Vector> {
        let (input, what) = match (whole, arguments) {
            (Whole::HistogramQuantile, [q, input]) => {
                (input, OfBuckets::Quantile(self.scalar(q, depth)?, q.span.start))
            }
            (Whole::HistogramQuantiles, [input, label, qs @ ..]) => {
                let qs = qs.iter().map(|q| Ok((self.scalar(q, depth)?, q.span.start))).collect::<Result<Vec<_>>>()?;
                (input, OfBuckets::Quantiles(self.text(label, depth)?, qs))
            }
            (Whole::HistogramFraction, [lower, upper, input]) => {
                (input, OfBuckets::Fraction(self.scalar(lower, depth)?, self.scalar(upper, depth)?))
            }
            _ => return Err(missing("histogram function")),
        };
        Ok(Vector::Histogram(self.boxed(input, depth)?, what, input.span.start))
    }

    /// Returns the plan of `info`, whose second argument says which info series and labels are wanted.
    fn info(&self, input: Box<Vector>, data: Option<&Expr>) -> Result<Vector> {
        let mut info = Info { names: Vec::new(), data: Vec::new(), shift: first_shift(&input) };
        if let Some(data) = data {
            let Node::Selector(selector) = &data.node else { return Err(missing("info")) };
            for matcher in self.matchers(selector)? {
                if matcher.name() == LABEL_NAME { info.names.push(matcher) } else { info.data.push(matcher) }
            }
        }
        let is_positive = |m: &Matcher| matches!(m.op(), MatchOp::Equal | MatchOp::Regex);
        if info.names.is_empty() {
            info.names.push(Matcher::equal(LABEL_NAME, INFO_METRIC));
        } else if !info.names.iter().any(is_positive) {
            let names = Matcher::new(LABEL_NAME, MatchOp::Regex, INFO_METRICS);
            info.names.push(names.map_err(|e| refused(&e.to_string()))?);
        }
        Ok(Vector::Info(input, info))
    }

    /// Returns the labels that `absent` can work out of a selector: those with one `=` and no other matcher.
    fn equal_labels(&self, tree: &Expr) -> Result<Labels> {
        let selector = match &tree.node {
            Node::Selector(selector) | Node::Range(selector, _) => selector,
            Node::Paren(inner) => return self.equal_labels(inner),
            _ => return Ok(Labels::empty()),
        };
        let all = self.matchers(selector)?;
        let is_only = |m: &Matcher| all.iter().filter(|other| other.name() == m.name()).count() == 1;
        let kept = all.iter().filter(|m| m.op() == MatchOp::Equal && m.name() != LABEL_NAME && is_only(m));
        Ok(Labels::from_pairs(kept.map(|m| (m.name(), m.value()))))
    }
}

/// Returns the matchers of a plain selector.
pub(super) fn selector_matchers(tree: &Expr, text: &str) -> Option<Result<Vec<Matcher>>> {
    match &tree.node {
        Node::Selector(selector) if selector.place == Place::default() && selector.extent == Extent::Plain => {
            let planner =
                Planner { text, start: 0, end: 0, step_ms: 0, default_step_ms: 0, is_traced: false, repeated: None };
            Some(planner.matchers(selector))
        }
        Node::Paren(inner) => selector_matchers(inner, text),
        _ => None,
    }
}

/// Tells whether an expression is a range vector.
fn is_range(tree: &Expr) -> bool {
    match &tree.node {
        Node::Range(..) | Node::Subquery(_) => true,
        Node::Paren(inner) => is_range(inner),
        _ => false,
    }
}

/// Returns where the first selector of a vector looks: `info` looks there too.
fn first_shift(vector: &Vector) -> Shift {
    match vector {
        Vector::Select(selector) | Vector::SampleTimes(selector) => selector.shift,
        Vector::PerWindow { input, .. } => input.extent().0,
        Vector::Traced(_, input) => first_shift(input),
        _ => Shift::default(),
    }
}

fn matching(binary: &Binary) -> Matching {
    let (is_on, names) = binary.matching.clone().unwrap_or_default();
    Matching { names, is_on }
}

fn cardinality(binary: &Binary) -> Cardinality {
    match &binary.group {
        None => Cardinality::OneToOne,
        Some(group) if group.is_left => Cardinality::ManyToOne(group.labels.clone()),
        Some(group) => Cardinality::OneToMany(group.labels.clone()),
    }
}

fn check_label(name: &str, role: &str, function: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::Execution(format!("invalid {role} label name in {function}(): {name}")));
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "bounded before")]
fn to_millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

fn missing(function: &str) -> Error {
    refused(&format!("wrong arguments in call to {function:?}"))
}

fn wrong_type(expected: &str, got: &Plan) -> Error {
    let got = match got {
        Plan::Scalar(_) => "scalar",
        Plan::Vector(_) => "instant vector",
        Plan::Range(_) => "range vector",
        Plan::Text(_) => "string",
    };
    refused(&format!("expected type {expected}, got {got}"))
}

fn refused(message: &str) -> Error {
    Error::Parse { line: 0, column: 0, message: message.to_owned() }
}
