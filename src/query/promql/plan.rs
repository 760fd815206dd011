//! The parser crate's tree to our own typed plan: functions looked up once, regexes compiled, types checked, constants
//! folded, what is not supported refused by name.

use std::time::{SystemTime, UNIX_EPOCH};

use promql_parser::label::{MatchOp as CrateOp, Matchers};
use promql_parser::parser::token::{
    T_ADD, T_ATAN2, T_AVG, T_BOTTOMK, T_COUNT, T_COUNT_VALUES, T_DIV, T_EQLC, T_GROUP, T_GTE, T_GTR, T_LAND,
    T_LIMIT_RATIO, T_LIMITK, T_LOR, T_LSS, T_LTE, T_LUNLESS, T_MAX, T_MIN, T_MOD, T_MUL, T_NEQ, T_POW, T_QUANTILE,
    T_STDDEV, T_STDVAR, T_SUB, T_SUM, T_TOPK, TokenType,
};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    AggregateExpr, AtModifier, BinModifier, BinaryExpr, Call, Expr, LabelModifier, MatrixSelector, Offset,
    SubqueryExpr, VectorMatchCardinality, VectorSelector,
};

use super::eval::apply;
use super::functions::{self, Input, PerWindow, Shape, ValueFunction, Whole};
use super::lookback::Shift;
use super::parse::INFO_MARK;
use super::tree::{
    Cardinality, Grouping, Info, Join, Matching, OfBuckets, Operator, Order, Plan, Range, Ranking, Scalar, Selector,
    SetOperator, Total, Vector,
};
use super::{Error, Result};
use crate::model::{AnchoredRegex, LABEL_NAME, Labels, MatchOp, Matcher};

/// Upper bound of operations within operations, however they are written: the evaluator calls itself for each.
const DEPTH_MAX: usize = 128;

/// Name of the info metric where `info` names none.
const INFO_METRIC: &str = "target_info";

/// Names of info metrics where `info` says only which ones it does not want.
const INFO_METRICS: &str = ".+_info";

/// Turns trees into plans for one query.
#[derive(Debug)]
pub(super) struct Planner {
    /// The query's first step: what `start()` and `@ start()` mean.
    pub(super) start: i64,
    /// Its end as asked for, which `end()`, `range()` and `@ end()` mean; the last step may be earlier.
    pub(super) end: i64,
    /// What `step()` is, milliseconds: 0 for an instant query.
    pub(super) step_ms: i64,
    /// Step of subqueries that do not name one, milliseconds.
    pub(super) default_step_ms: i64,
}

impl Planner {
    /// Returns the plan of a tree.
    pub(super) fn plan(&self, tree: &Expr) -> Result<Plan> {
        self.node(tree, 0)
    }

    /// Returns the plan of a node. It only passes on to the method of the node's kind, so that its frame stays small:
    /// the stack holds one for each level.
    fn node(&self, tree: &Expr, depth: usize) -> Result<Plan> {
        if depth > DEPTH_MAX {
            return Err(Error::Limit(format!("query nests deeper than {DEPTH_MAX} operations")));
        }
        match tree {
            Expr::NumberLiteral(number) => Ok(Plan::Scalar(Scalar::Number(number.val))),
            Expr::StringLiteral(text) => Ok(Plan::Text(text.val.clone())),
            Expr::Paren(inner) => self.node(&inner.expr, depth),
            Expr::Unary(inner) => self.negated(&inner.expr, depth + 1),
            Expr::VectorSelector(selector) => self.instant_selector(selector),
            Expr::MatrixSelector(matrix) => self.range_selector(matrix),
            Expr::Subquery(subquery) => self.subquery(subquery, depth + 1),
            Expr::Binary(binary) => self.binary(binary, depth + 1),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, depth + 1),
            Expr::Call(call) => self.call(call, depth + 1),
            Expr::Extension(_) => Err(refused("unknown expression")),
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

    fn instant_selector(&self, selector: &VectorSelector) -> Result<Plan> {
        Ok(Plan::Vector(Vector::Select(self.selector(selector)?)))
    }

    fn range_selector(&self, matrix: &MatrixSelector) -> Result<Plan> {
        Ok(Plan::Range(Range::Select(self.selector(&matrix.vs)?, length(matrix.range)?)))
    }

    fn subquery(&self, subquery: &SubqueryExpr, depth: usize) -> Result<Plan> {
        let input = self.boxed(&subquery.expr, depth)?;
        let range = length(subquery.range)?;
        let step = subquery.step.map_or(Ok(self.default_step_ms), length)?;
        let shift = self.shift(subquery.at.as_ref(), subquery.offset.as_ref())?;
        Ok(Plan::Range(Range::Subquery { input, range, step, shift }))
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

    fn selector(&self, selector: &VectorSelector) -> Result<Selector> {
        Ok(Selector {
            matchers: matchers(selector)?,
            shift: self.shift(selector.at.as_ref(), selector.offset.as_ref())?,
        })
    }

    fn shift(&self, at: Option<&AtModifier>, offset: Option<&Offset>) -> Result<Shift> {
        let at = match at {
            None => None,
            Some(AtModifier::Start) => Some(self.start),
            Some(AtModifier::End) => Some(self.end),
            Some(AtModifier::At(time)) => Some(millis(*time)?),
        };
        let offset = match offset {
            None => 0,
            Some(Offset::Pos(duration)) => duration_ms(*duration)?,
            Some(Offset::Neg(duration)) => -duration_ms(*duration)?,
        };
        Ok(Shift { at, offset })
    }

    fn binary(&self, binary: &BinaryExpr, depth: usize) -> Result<Plan> {
        let left = self.node(&binary.lhs, depth)?;
        let right = self.node(&binary.rhs, depth)?;
        let modifier = binary.modifier.as_ref();
        let is_bool = modifier.is_some_and(|m| m.return_bool);
        if let Some(set) = set_operator(binary.op) {
            if modifier.is_some_and(|m| m.fill_values.lhs.is_some() || m.fill_values.rhs.is_some()) {
                return Err(refused("filling in missing series is not allowed for set operators"));
            }
            return match (left, right) {
                (Plan::Vector(left), Plan::Vector(right)) => {
                    Ok(Plan::Vector(Vector::Set(set, Box::new(left), Box::new(right), matching(modifier))))
                }
                _ => Err(refused("set operators are only allowed between instant vectors")),
            };
        }
        let operator = operator(binary.op)?;
        let fills = modifier.is_some_and(|m| m.fill_values.lhs.is_some() || m.fill_values.rhs.is_some());
        if fills && !matches!((&left, &right), (Plan::Vector(_), Plan::Vector(_))) {
            return Err(refused("filling in missing series only allowed between instant vectors"));
        }
        Ok(match (left, right) {
            (Plan::Scalar(Scalar::Number(left)), Plan::Scalar(Scalar::Number(right))) => {
                Plan::Scalar(Scalar::Number(apply(operator, left, right)))
            }
            (Plan::Scalar(left), Plan::Scalar(right)) => {
                Plan::Scalar(Scalar::Binary(operator, Box::new(left), Box::new(right)))
            }
            (Plan::Vector(vector), Plan::Scalar(scalar)) => {
                let vector = Box::new(vector);
                Plan::Vector(Vector::WithScalar { operator, vector, scalar, is_scalar_left: false, is_bool })
            }
            (Plan::Scalar(scalar), Plan::Vector(vector)) => {
                let vector = Box::new(vector);
                Plan::Vector(Vector::WithScalar { operator, vector, scalar, is_scalar_left: true, is_bool })
            }
            (Plan::Vector(left), Plan::Vector(right)) => Plan::Vector(Vector::Join(Box::new(Join {
                operator,
                left,
                right,
                matching: matching(modifier),
                cardinality: cardinality(modifier),
                is_bool,
                fill_left: modifier.and_then(|m| m.fill_values.lhs),
                fill_right: modifier.and_then(|m| m.fill_values.rhs),
            }))),
            _ => return Err(refused("binary expression must contain only scalar and instant vector types")),
        })
    }

    fn aggregate(&self, aggregate: &AggregateExpr, depth: usize) -> Result<Plan> {
        let input = self.boxed(&aggregate.expr, depth)?;
        self.aggregation(aggregate, input, depth).map(Plan::Vector)
    }

    fn aggregation(&self, aggregate: &AggregateExpr, input: Box<Vector>, depth: usize) -> Result<Vector> {
        let (names, is_without) = match &aggregate.modifier {
            None => (Vec::new(), false),
            Some(LabelModifier::Include(labels)) => (labels.labels.clone(), false),
            Some(LabelModifier::Exclude(labels)) => (labels.labels.clone(), true),
        };
        let grouping = Grouping { names, is_without };
        let parameter = || {
            let missing = || refused("wrong number of arguments for aggregate expression provided, expected 2, got 1");
            aggregate.param.as_deref().ok_or_else(missing)
        };
        let ranking = match aggregate.op.id() {
            T_SUM => return Ok(Vector::Aggregate(Total::Sum, input, grouping)),
            T_AVG => return Ok(Vector::Aggregate(Total::Avg, input, grouping)),
            T_MIN => return Ok(Vector::Aggregate(Total::Min, input, grouping)),
            T_MAX => return Ok(Vector::Aggregate(Total::Max, input, grouping)),
            T_COUNT => return Ok(Vector::Aggregate(Total::Count, input, grouping)),
            T_GROUP => return Ok(Vector::Aggregate(Total::Group, input, grouping)),
            T_STDDEV => return Ok(Vector::Aggregate(Total::Stddev, input, grouping)),
            T_STDVAR => return Ok(Vector::Aggregate(Total::Stdvar, input, grouping)),
            T_TOPK => Ranking::Largest(self.scalar(parameter()?, depth)?),
            T_BOTTOMK => Ranking::Smallest(self.scalar(parameter()?, depth)?),
            T_QUANTILE => Ranking::Quantile(self.scalar(parameter()?, depth)?),
            T_LIMITK => Ranking::Limit(self.scalar(parameter()?, depth)?),
            T_LIMIT_RATIO => Ranking::Ratio(self.scalar(parameter()?, depth)?),
            T_COUNT_VALUES => {
                let label = self.text(parameter()?, depth)?;
                if label.is_empty() {
                    return Err(Error::Execution(format!("invalid label name {label:?}")));
                }
                Ranking::CountValues(label)
            }
            _ => return Err(refused(&format!("unknown aggregation {}", aggregate.op))),
        };
        Ok(Vector::Rank(ranking, input, grouping))
    }

    fn call(&self, call: &Call, depth: usize) -> Result<Plan> {
        let arguments: Vec<&Expr> = call.args.args.iter().map(AsRef::as_ref).collect();
        let name = call.func.name;
        match (functions::find(name), arguments.as_slice()) {
            (Some(Shape::Value(function)), [input, rest @ ..]) => self.per_value(function, input, rest, depth),
            (Some(Shape::Calendar(part)), input) => self.calendar(part, input.first().copied(), depth),
            (Some(Shape::Window(row)), all) => self.per_window(name, row, all, depth),
            (Some(Shape::Whole(Whole::Scalar)), [input]) => {
                self.boxed(input, depth).map(|input| Plan::Scalar(Scalar::Only(input)))
            }
            (Some(Shape::Whole(whole)), all) => self.whole(whole, name, all, depth).map(Plan::Vector),
            (Some(Shape::Input(input)), all) => self.input(input, name, all, depth).map(Plan::Scalar),
            (Some(Shape::Native), [input, ..]) => {
                self.boxed(input, depth).map(|input| Plan::Vector(Vector::Nothing(input)))
            }
            (Some(Shape::Value(_) | Shape::Native), []) => Err(missing(name)),
            (None, _) => Err(refused(&format!("function {name:?} is not supported"))),
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
        let at = all.iter().position(|a| a.value_type() == ValueType::Matrix).ok_or_else(|| missing(name))?;
        let rest: Vec<&Expr> = all.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, a)| *a).collect();
        let scalars = self.scalars(&rest, depth)?;
        let input = self.range(all.get(at).ok_or_else(|| missing(name))?, depth)?;
        Ok(Plan::Vector(Vector::PerWindow { row, input, scalars }))
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

    fn whole(&self, whole: Whole, name: &str, arguments: &[&Expr], depth: usize) -> Result<Vector> {
        match (whole, arguments) {
            (Whole::Vector, [input]) => self.scalar(input, depth).map(Vector::OfScalar),
            (Whole::Absent, [input]) => self.absent(input, depth),
            (Whole::AbsentOverTime, [input]) => self.absent_over_time(input, depth),
            (Whole::Timestamp, [input]) => self.timestamp(input, depth),
            (Whole::Sort, [input]) => self.sorted(input, Order::Rising, depth),
            (Whole::SortDesc, [input]) => self.sorted(input, Order::Falling, depth),
            (Whole::SortByLabel, [input, names @ ..]) => {
                self.texts(names, depth).and_then(|names| self.sorted(input, Order::Labels(names), depth))
            }
            (Whole::SortByLabelDesc, [input, names @ ..]) => {
                self.texts(names, depth).and_then(|names| self.sorted(input, Order::LabelsFalling(names), depth))
            }
            (Whole::LabelReplace, [input, rest @ ..]) => self.label_replace(input, rest, depth),
            (Whole::LabelJoin, [input, rest @ ..]) => self.label_join(input, rest, depth),
            (Whole::HistogramQuantile | Whole::HistogramQuantiles | Whole::HistogramFraction, all) => {
                self.histogram(whole, all, depth)
            }
            (Whole::Info, [input, rest @ ..]) => {
                self.boxed(input, depth).and_then(|input| info(input, rest.first().copied()))
            }
            _ => Err(missing(name)),
        }
    }

    fn absent(&self, input: &Expr, depth: usize) -> Result<Vector> {
        Ok(Vector::Absent(self.boxed(input, depth)?, equal_labels(input)?))
    }

    fn absent_over_time(&self, input: &Expr, depth: usize) -> Result<Vector> {
        Ok(Vector::AbsentOverTime(self.range(input, depth)?, equal_labels(input)?))
    }

    fn timestamp(&self, input: &Expr, depth: usize) -> Result<Vector> {
        Ok(match self.vector(input, depth)? {
            // Of a selector it is the samples' own time, else the step's.
            Vector::Select(selector) => Vector::SampleTimes(selector),
            other => Vector::StepTimes(Box::new(other)),
        })
    }

    fn sorted(&self, input: &Expr, order: Order, depth: usize) -> Result<Vector> {
        Ok(Vector::Sort(self.boxed(input, depth)?, order))
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
            (Whole::HistogramQuantile, [q, input]) => (input, OfBuckets::Quantile(self.scalar(q, depth)?)),
            (Whole::HistogramQuantiles, [input, label, qs @ ..]) => {
                let qs = qs.iter().map(|q| self.scalar(q, depth)).collect::<Result<Vec<_>>>()?;
                (input, OfBuckets::Quantiles(self.text(label, depth)?, qs))
            }
            (Whole::HistogramFraction, [lower, upper, input]) => {
                (input, OfBuckets::Fraction(self.scalar(lower, depth)?, self.scalar(upper, depth)?))
            }
            _ => return Err(missing("histogram function")),
        };
        Ok(Vector::Histogram(self.boxed(input, depth)?, what))
    }
}

/// Returns the plan of `info`, whose second argument says which info series and labels are wanted.
fn info(input: Box<Vector>, data: Option<&Expr>) -> Result<Vector> {
    let mut info = Info { names: Vec::new(), data: Vec::new(), shift: first_shift(&input) };
    match data {
        None => {}
        Some(Expr::VectorSelector(selector)) => {
            for matcher in matchers(selector)?.into_iter().filter(|m| m.name() != INFO_MARK) {
                if matcher.name() == LABEL_NAME { info.names.push(matcher) } else { info.data.push(matcher) }
            }
        }
        Some(_) => return Err(refused("expected label selectors as the second argument to info()")),
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

/// Returns the matchers of a selector, the metric name among them.
pub(super) fn selector_matchers(tree: &Expr) -> Option<Result<Vec<Matcher>>> {
    match tree {
        Expr::VectorSelector(selector) if selector.at.is_none() && selector.offset.is_none() => {
            Some(matchers(selector))
        }
        Expr::Paren(inner) => selector_matchers(&inner.expr),
        _ => None,
    }
}

fn matchers(selector: &VectorSelector) -> Result<Vec<Matcher>> {
    let Matchers { matchers, or_matchers } = &selector.matchers;
    if !or_matchers.is_empty() {
        return Err(refused("unexpected \"or\" in label matching, expected \",\" or \"}\""));
    }
    let mut found: Vec<Matcher> = selector.name.iter().map(|name| Matcher::equal(LABEL_NAME, name)).collect();
    for matcher in matchers {
        let op = match matcher.op {
            CrateOp::Equal => MatchOp::Equal,
            CrateOp::NotEqual => MatchOp::NotEqual,
            CrateOp::Re(_) => MatchOp::Regex,
            CrateOp::NotRe(_) => MatchOp::NotRegex,
        };
        found.push(Matcher::new(&matcher.name, op, &matcher.value).map_err(|e| refused(&e.to_string()))?);
    }
    Ok(found)
}

/// Returns the labels that `absent` can work out of a selector: those with one `=` and no other matcher.
fn equal_labels(tree: &Expr) -> Result<Labels> {
    let selector = match tree {
        Expr::VectorSelector(selector) => selector,
        Expr::MatrixSelector(matrix) => &matrix.vs,
        Expr::Paren(inner) => return equal_labels(&inner.expr),
        _ => return Ok(Labels::empty()),
    };
    let all = matchers(selector)?;
    let is_only = |m: &Matcher| all.iter().filter(|other| other.name() == m.name()).count() == 1;
    let kept = all.iter().filter(|m| m.op() == MatchOp::Equal && m.name() != LABEL_NAME && is_only(m));
    Ok(Labels::from_pairs(kept.map(|m| (m.name(), m.value()))))
}

/// Returns where the first selector of a vector looks: `info` looks there too.
fn first_shift(vector: &Vector) -> Shift {
    match vector {
        Vector::Select(selector) | Vector::SampleTimes(selector) => selector.shift,
        Vector::PerWindow { input, .. } => input.extent().0,
        _ => Shift::default(),
    }
}

fn matching(modifier: Option<&BinModifier>) -> Matching {
    match modifier.and_then(|m| m.matching.as_ref()) {
        None => Matching { names: Vec::new(), is_on: false },
        Some(LabelModifier::Include(labels)) => Matching { names: labels.labels.clone(), is_on: true },
        Some(LabelModifier::Exclude(labels)) => Matching { names: labels.labels.clone(), is_on: false },
    }
}

fn cardinality(modifier: Option<&BinModifier>) -> Cardinality {
    match modifier.map(|m| &m.card) {
        None | Some(VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany) => Cardinality::OneToOne,
        Some(VectorMatchCardinality::ManyToOne(labels)) => Cardinality::ManyToOne(labels.labels.clone()),
        Some(VectorMatchCardinality::OneToMany(labels)) => Cardinality::OneToMany(labels.labels.clone()),
    }
}

fn set_operator(op: TokenType) -> Option<SetOperator> {
    match op.id() {
        T_LAND => Some(SetOperator::And),
        T_LOR => Some(SetOperator::Or),
        T_LUNLESS => Some(SetOperator::Unless),
        _ => None,
    }
}

fn operator(op: TokenType) -> Result<Operator> {
    Ok(match op.id() {
        T_ADD => Operator::Add,
        T_SUB => Operator::Subtract,
        T_MUL => Operator::Multiply,
        T_DIV => Operator::Divide,
        T_MOD => Operator::Modulo,
        T_POW => Operator::Power,
        T_ATAN2 => Operator::Atan2,
        T_EQLC => Operator::Equal,
        T_NEQ => Operator::NotEqual,
        T_LSS => Operator::Less,
        T_LTE => Operator::LessOrEqual,
        T_GTR => Operator::Greater,
        T_GTE => Operator::GreaterOrEqual,
        _ => return Err(refused(&format!("unknown operator {op}"))),
    })
}

fn check_label(name: &str, role: &str, function: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::Execution(format!("invalid {role} label name in {function}(): {name}")));
    }
    Ok(())
}

/// Returns a duration in milliseconds.
fn duration_ms(duration: std::time::Duration) -> Result<i64> {
    i64::try_from(duration.as_millis()).map_err(|_| refused("duration out of range"))
}

/// Returns a positive duration in milliseconds.
fn length(duration: std::time::Duration) -> Result<i64> {
    let ms = duration_ms(duration)?;
    if ms > 0 { Ok(ms) } else { Err(refused("duration must be greater than 0")) }
}

fn millis(time: SystemTime) -> Result<i64> {
    let out_of_range = |_| refused("timestamp out of bounds for @ modifier");
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).map_err(out_of_range),
        Err(before) => i64::try_from(before.duration().as_millis()).map(|ms| -ms).map_err(out_of_range),
    }
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
