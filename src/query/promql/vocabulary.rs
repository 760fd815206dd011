//! The words of the language for people who write: how each is called and what it means, in a line.

use super::syntax::{Last, Signature, Type, aggregation_names, function_signatures};

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WordKind {
    /// Called with arguments.
    Function,
    /// Called with a vector, and labels to group by.
    Aggregation,
    /// Stands between.
    Keyword,
}

/// A word of the language.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    /// How it is written.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) kind: WordKind,
    /// What it takes, for example `(range)`; empty for keywords.
    pub(crate) takes: String,
    /// What it means.
    pub(crate) meaning: &'static str,
}

/// Returns all words but the functions of native histograms, which are not stored.
pub(crate) fn vocabulary() -> Vec<Word> {
    let aggregations = aggregation_names().map(|name| {
        let takes = match name {
            "bottomk" | "topk" | "limitk" | "limit_ratio" | "quantile" => "(number, vector)",
            "count_values" => "(text, vector)",
            _ => "(vector)",
        };
        Word { name, kind: WordKind::Aggregation, takes: takes.to_owned(), meaning: meaning(name) }
    });
    let functions = function_signatures().iter().filter(|s| !meaning(s.name).is_empty()).map(|s| Word {
        name: s.name,
        kind: WordKind::Function,
        takes: takes(s),
        meaning: meaning(s.name),
    });
    let keywords =
        KEYWORDS.iter().map(|(name, meaning)| Word { name, kind: WordKind::Keyword, takes: String::new(), meaning });
    aggregations.chain(functions).chain(keywords).collect()
}

fn takes(signature: &Signature) -> String {
    let word = |of: &Type| match of {
        Type::Scalar => "number",
        Type::Vector => "vector",
        Type::Matrix => "range",
        Type::Text => "text",
    };
    let mut words: Vec<String> = signature.arguments.iter().map(|of| word(of).to_owned()).collect();
    if let Some(last) = words.last_mut().filter(|_| signature.last != Last::Once) {
        let more = if signature.last == Last::UpTo(1) { "" } else { " ..." };
        *last = format!("[{last}{more}]");
    }
    format!("({})", words.join(", "))
}

/// Words that stand between.
const KEYWORDS: [(&str, &str); 17] = [
    ("and", "Left series that have a partner on the right."),
    ("anchored", "After a range: takes in the sample before it, without extrapolation."),
    ("bool", "After a comparison: 0 or 1 instead of leaving series out."),
    ("by", "Labels that groups keep."),
    ("end()", "After @: the end of the query."),
    ("group_left", "Many series of the left match one of the right."),
    ("group_right", "Many series of the right match one of the left."),
    ("ignoring", "All labels but these have to agree."),
    ("inf", "Infinity."),
    ("nan", "Not a number."),
    ("offset", "Looks so long before."),
    ("on", "Only these labels have to agree."),
    ("or", "Left series, and right ones without a partner."),
    ("smoothed", "After a range or selector: values at the ends are interpolated."),
    ("start()", "After @: the start of the query."),
    ("unless", "Left series without a partner on the right."),
    ("without", "Labels that groups leave out."),
];

fn meaning(name: &str) -> &'static str {
    MEANINGS.binary_search_by_key(&name, |(known, _)| known).ok().and_then(|i| MEANINGS.get(i)).map_or("", |m| m.1)
}

/// What functions and aggregations give, by name.
const MEANINGS: [(&str, &str); 99] = [
    ("abs", "Without the sign."),
    ("absent", "1 if there is no series, else nothing."),
    ("absent_over_time", "1 if no series has a sample in the range, else nothing."),
    ("acos", "Arc cosine, in radians."),
    ("acosh", "Inverse hyperbolic cosine."),
    ("asin", "Arc sine, in radians."),
    ("asinh", "Inverse hyperbolic sine."),
    ("atan", "Arc tangent, in radians."),
    ("atanh", "Inverse hyperbolic tangent."),
    ("avg", "Mean of each group."),
    ("avg_over_time", "Mean of the samples in the range."),
    ("bottomk", "The k smallest series of each group."),
    ("ceil", "Rounded up to a whole number."),
    ("changes", "How often the value changed in the range."),
    ("clamp", "Kept between a lower and an upper bound."),
    ("clamp_max", "Not above a bound."),
    ("clamp_min", "Not below a bound."),
    ("cos", "Cosine of radians."),
    ("cosh", "Hyperbolic cosine."),
    ("count", "Number of series in each group."),
    ("count_over_time", "Number of samples in the range."),
    ("count_values", "How many series have each value; the value goes to a label."),
    ("day_of_month", "Day of the month, 1 to 31, UTC."),
    ("day_of_week", "Day of the week, 0 is Sunday, UTC."),
    ("day_of_year", "Day of the year, from 1, UTC."),
    ("days_in_month", "Days that the month has, UTC."),
    ("deg", "Radians to degrees."),
    ("delta", "Difference between the ends of the range, for gauges."),
    ("deriv", "Slope per second by a fitted line, for gauges."),
    ("double_exponential_smoothing", "Smoothed value; factors for level and trend."),
    ("end", "The query's last time, in seconds."),
    ("exp", "e to the power of the value."),
    ("first_over_time", "Oldest sample in the range."),
    ("floor", "Rounded down to a whole number."),
    ("group", "1 for each group."),
    ("histogram_fraction", "Share of observations between two values."),
    ("histogram_quantile", "Quantile, 0 to 1, out of buckets with le."),
    ("histogram_quantiles", "Several quantiles out of buckets; the quantile goes to a label."),
    ("holt_winters", "Old name of double_exponential_smoothing."),
    ("hour", "Hour of the day, 0 to 23, UTC."),
    ("idelta", "Difference of the last two samples, for gauges."),
    ("increase", "Growth of a counter over the range, restarts allowed for."),
    ("info", "With labels of the matching info series."),
    ("irate", "Growth per second of a counter by its last two samples."),
    ("label_join", "A label made of others: target, separator, sources."),
    ("label_replace", "A label made by a regex: target, replacement, source, regex."),
    ("last_over_time", "Newest sample in the range."),
    ("limit_ratio", "A share of the series of each group."),
    ("limitk", "Any k series of each group."),
    ("ln", "Natural logarithm."),
    ("log10", "Logarithm to base 10."),
    ("log2", "Logarithm to base 2."),
    ("mad_over_time", "Median absolute deviation in the range."),
    ("max", "Largest value of each group."),
    ("max_of", "The larger of two numbers."),
    ("max_over_time", "Largest sample in the range."),
    ("min", "Smallest value of each group."),
    ("min_of", "The smaller of two numbers."),
    ("min_over_time", "Smallest sample in the range."),
    ("minute", "Minute of the hour, 0 to 59, UTC."),
    ("month", "Month, 1 to 12, UTC."),
    ("pi", "3.14159..."),
    ("predict_linear", "Value so many seconds ahead, by a fitted line, for gauges."),
    ("present_over_time", "1 for each series with a sample in the range."),
    ("quantile", "Quantile, 0 to 1, of each group."),
    ("quantile_over_time", "Quantile, 0 to 1, of the samples in the range."),
    ("rad", "Degrees to radians."),
    ("range", "From the query's start to its end, in seconds."),
    ("rate", "Growth per second of a counter over the range, restarts allowed for."),
    ("resets", "How often a counter began anew in the range."),
    ("round", "To the nearest whole number, or multiple of a number."),
    ("scalar", "The value of a single series as a number."),
    ("sgn", "1, 0 or -1 by the sign."),
    ("sin", "Sine of radians."),
    ("sinh", "Hyperbolic sine."),
    ("sort", "In order of value, smallest first."),
    ("sort_by_label", "In order of labels."),
    ("sort_by_label_desc", "In reverse order of labels."),
    ("sort_desc", "In order of value, largest first."),
    ("sqrt", "Square root."),
    ("start", "The query's first time, in seconds."),
    ("stddev", "Standard deviation of each group."),
    ("stddev_over_time", "Standard deviation of the samples in the range."),
    ("stdvar", "Variance of each group."),
    ("stdvar_over_time", "Variance of the samples in the range."),
    ("step", "Seconds between the query's steps."),
    ("sum", "Sum of each group."),
    ("sum_over_time", "Sum of the samples in the range."),
    ("tan", "Tangent of radians."),
    ("tanh", "Hyperbolic tangent."),
    ("time", "The step's time, in seconds since 1970."),
    ("timestamp", "When the newest sample came, in seconds since 1970."),
    ("topk", "The k largest series of each group."),
    ("ts_of_first_over_time", "When the oldest sample in the range came."),
    ("ts_of_last_over_time", "When the newest sample in the range came."),
    ("ts_of_max_over_time", "When the largest sample in the range came."),
    ("ts_of_min_over_time", "When the smallest sample in the range came."),
    ("vector", "A number as a series without labels."),
    ("year", "Year, UTC."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::promql::functions::{Shape, find};

    #[test]
    fn every_word_has_a_meaning() {
        assert!(MEANINGS.is_sorted_by(|a, b| a.0 < b.0));
        let known = vocabulary();
        let is_known = |name: &str| known.iter().any(|word| word.name == name);
        for signature in function_signatures() {
            let is_native = matches!(find(signature.name), Some(Shape::Native));
            assert_eq!(is_known(signature.name), !is_native, "{}", signature.name);
        }
        assert!(known.iter().all(|word| !word.meaning.is_empty()), "an aggregation without a meaning");
        for (name, _) in MEANINGS {
            assert!(is_known(name), "{name} is no word");
        }
    }

    #[track_caller]
    fn check(name: &str, takes: &str) {
        let found = vocabulary().into_iter().find(|word| word.name == name).unwrap();
        assert_eq!(found.takes, takes);
    }

    #[test]
    fn what_a_function_takes_is_told() {
        check("rate", "(range)");
        check("clamp", "(vector, number, number)");
        check("round", "(vector, [number])");
        check("label_join", "(vector, text, text, [text ...])");
        check("time", "()");
        check("topk", "(number, vector)");
    }
}
