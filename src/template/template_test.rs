use super::{Context, Error, Library, Template, Value};
use crate::model::{Labels, Timestamp};

const VARIABLES: [&str; 4] = ["labels", "externalLabels", "externalURL", "value"];

fn rendered(text: &str) -> std::result::Result<String, String> {
    let template = Template::parse(text, &VARIABLES).map_err(|m| m[0].to_string())?;
    let labels = Labels::from_pairs([("instance", "press1:9100"), ("severity", "critical")]);
    let query = |expression: &str| match expression {
        "up" => Ok(vec![
            (Labels::from_pairs([("job", "b"), ("__value__", "s")]), 1.0),
            (Labels::from_pairs([("job", "a")]), 0.0),
        ]),
        "none" => Ok(vec![]),
        _ => Err("no such metric".to_owned()),
    };
    let context = Context {
        query: &query,
        external_url: "http://box:26366/andon",
        now: Timestamp::from_millis(1_435_781_451_781),
    };
    let values = [
        ("labels", Value::Labels(labels)),
        ("externalLabels", Value::Labels(Labels::from_pairs([("site", "north")]))),
        ("externalURL", Value::text("http://box:26366/andon")),
        ("value", Value::Float(81.456)),
    ];
    let field = |name: &'static str, i: usize| (name, values[i].1.clone());
    let dot =
        Value::record(vec![field("Labels", 0), field("ExternalLabels", 1), field("ExternalURL", 2), field("Value", 3)]);
    template.render(&context, &dot, &values).map_err(|e| e.to_string())
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
}

/// The template is refused, when read or when rendered, with a message that contains `part`.
#[track_caller]
fn refused(text: &str, part: &str) {
    let message = rendered(text).unwrap_err();
    assert!(message.contains(part), "{text}: {message}");
}

#[test]
fn values_are_put_into_text() {
    check("plain", "plain");
    check("{{ $labels.instance }} is at {{ $value }}", "press1:9100 is at 81.456");
    check("{{ .Labels.instance }} {{ .Value }} {{ .ExternalLabels.site }}", "press1:9100 81.456 north");
    check("[{{ $labels.missing }}]", "[]");
    check(
        "{{ $externalURL }} {{ externalURL }} {{ pathPrefix }}",
        "http://box:26366/andon http://box:26366/andon /andon",
    );
    check("{{ $labels }}", "map[instance:press1:9100 severity:critical]");
}

#[test]
fn pipelines_hand_their_value_on_as_the_last_argument() {
    check("{{ $value | printf \"%.2f\" }}", "81.46");
    check("{{ printf \"%.0f of %s\" $value $labels.severity }}", "81 of critical");
    check("{{ $value | humanize }} {{ humanizePercentage 0.123 }}", "81.46 12.3%");
    check("{{ \"abc def\" | title | toUpper | printf \"%q\" }}", "\"ABC DEF\"");
    check("{{ (index (query \"up\") 1).Labels.job }}", "a");
    check("{{ 1 | print 2 }}", "2 1");
    check("{{ title \"foo-bar o'neil wORLD\" }} {{ toUpper \"aß\" }}", "Foo-Bar O'Neil WORLD Aß");
}

#[test]
fn trim_markers_take_white_space_away() {
    check("a {{- 1 -}} b", "a1b");
    check("a  {{- /* note */ -}}  b", "ab");
    check("a {{/* note */}} b", "a  b");
    check("{{ -1 }}|{{- -1 }}", "-1|-1");
}

#[test]
fn conditions_and_loops_work() {
    check("{{ if gt $value 80.0 }}hot{{ else if gt $value 70.0 }}warm{{ else }}fine{{ end }}", "hot");
    check("{{ if gt $value 80 }}hot{{ end }}", "hot");
    check("{{ if $labels.missing }}x{{ else }}none{{ end }}", "none");
    check("{{ with $labels.severity }}<{{ . }}>{{ end }}{{ with $labels.no }}x{{ else }}-{{ end }}", "<critical>-");
    check("{{ range query \"up\" }}{{ .Labels.job }}={{ .Value }} {{ end }}", "b=1 a=0 ");
    check("{{ range $i, $s := query \"up\" | sortByLabel \"job\" }}{{ $i }}{{ $s.Labels.job }} {{ end }}", "0a 1b ");
    check("{{ range query \"none\" }}x{{ else }}empty{{ end }}", "empty");
    check("{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}", "instance=press1:9100;severity=critical;");
    check("{{ range query \"up\" }}{{ .Value }}{{ break }}{{ end }}", "1");
    check("{{ range 3 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ . }}{{ end }}", "02");
    check("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2");
    check("{{ define \"t\" }}[{{ . }}]{{ end }}{{ template \"t\" $value }}", "[81.456]");
}

#[test]
fn prometheus_functions_work() {
    check("{{ query \"up\" | first | value }}", "1");
    check("{{ query \"up\" | first | label \"job\" }}", "b");
    check("{{ query \"up\" | first | strvalue }}", "s");
    check("{{ stripPort $labels.instance }} {{ stripPort \"[::1]:80\" }} {{ stripPort \"a\" }}", "press1 ::1 a");
    check("{{ stripDomain \"a.b.c:80\" }} {{ stripDomain \"10.0.0.1:80\" }}", "a:80 10.0.0.1:80");
    check("{{ reReplaceAll \"(.*):.*\" \"$1!\" $labels.instance }}", "press1!");
    check("{{ match \"press[0-9]\" $labels.instance }}", "true");
    check(
        "{{ graphLink \"up > 1\" }} {{ tableLink \"up\" }}",
        "/graph?g0.expr=up+%3E+1&g0.tab=0 /graph?g0.expr=up&g0.tab=1",
    );
    check("{{ parseDuration \"1h30m\" }} {{ toDuration 90 }}", "5400 1m30s");
    check("{{ 1435781451.781 | toTime }}", "2015-07-01 20:10:51.781 +0000 UTC");
    check("{{ now | humanizeTimestamp }}", "2015-07-01 20:10:51.781 +0000 UTC");
    check("{{ with args 1 \"b\" }}{{ .arg0 }}{{ .arg1 }}{{ end }}", "1b");
    check("{{ humanize \"1234\" }} {{ humanize1024 2048.0 }} {{ humanizeDuration 61 }}", "1.234k 2ki 1m 1s");
}

#[test]
fn gos_functions_work() {
    check("{{ and true $labels.no }}|{{ or $labels.no \"unknown\" }}|{{ not true }}", "|unknown|false");
    check("{{ eq $labels.severity \"warning\" \"critical\" }} {{ ne 1 2 }} {{ le 2 2 }}", "true true true");
    check(
        "{{ len $labels }} {{ len \"abc\" }} {{ slice \"abcdef\" 1 3 }} {{ index $labels \"severity\" }}",
        "2 3 bc critical",
    );
    check("{{ html \"<a>\" }} {{ urlquery \"a b&c\" }}", "&lt;a&gt; a+b%26c");
    check("{{ `raw \\n` }}{{ \"\\t\\u00e9\" }}{{ 'a' }}", "raw \\n\té97");
    check("{{ or (and (eq 1 1) (gt 2 1)) false }}", "true");
}

#[test]
fn undefined_names_are_refused_with_place_and_suggestion() {
    refused("for {{ $for }}", "template 1:8: undefined variable \"$for\"; there are $labels");
    refused("{{ $label.x }}", "did you mean $labels?");
    refused("a\n{{ $labels.x | default \"unknown\" }}", "template 2:16: function \"default\" not defined; write {{ or");
    refused("{{ humanise 1 }}", "did you mean humanize?");
    let all = Template::parse("{{ $for }} {{ nope 1 }}", &VARIABLES).unwrap_err();
    assert_eq!(all.len(), 2);
}

#[test]
fn broken_syntax_is_refused() {
    refused("{{ $value", "unclosed action");
    refused("{{ if $value }}x", "unclosed {{if}}");
    refused("{{ end }}", "nothing is open");
    refused("{{ }}", "missing value");
    refused("{{ \"a }}", "unterminated quoted string");
    refused("{{ $value $value }}", "can't give arguments");
    refused("{{ 1 | 2 }}", "only a function can stand after |");
    refused("{{ (1 }}", "unclosed left parenthesis");
    refused("{{ 1) }}", "unexpected right parenthesis");
    refused("{{ break }}", "outside {{range}}");
    refused("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "undefined variable \"$x\"");
    refused(&"{{ if true }}".repeat(60), "nested deeper");
    refused(&format!("{{{{ {} }}}}", "(".repeat(1000)), "nested deeper");
}

#[test]
fn values_that_do_not_fit_are_told() {
    refused("{{ .Nope }}", "can't find field Nope; there are .Labels");
    refused("{{ query \"none\" | first }}", "first() called on vector with no elements");
    refused("{{ query \"bad\" }}", "no such metric");
    refused("{{ lt \"a\" 1 }}", "incompatible types");
    refused("{{ index $labels 1 }}", "expected a string");
    refused("{{ template \"x\" }}", "not defined");
    refused("{{ match \"(\" \"a\" }}", "error calling match");
}

#[test]
fn text_steps_and_calls_are_bounded() {
    refused("{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}", "too many steps");
    refused("{{ range 5000 }}123456{{ end }}", "writes more than 16 KiB");
    refused("{{ range 5000 }}{{ printf \"%1000000d\" 1 }}{{ end }}", "16 KiB");
    refused("{{ define \"t\" }}{{ template \"t\" . }}{{ end }}{{ template \"t\" 1 }}", "too deeply");
    let doubling = format!("{{{{ $x := \"aaaaaaaaaaaaaaaa\" }}}}{}", "{{ $x = print $x $x }}".repeat(40));
    refused(&doubling, "16 KiB");
    let _ = Error::Limit("x");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(\\{\\{|\\}\\}|\\$|\\.|if |end|range |\"|`|'|-|\\||[a-z0-9( )=:]|\\PC){0,40}") {
        let _ = rendered(&text);
    }
}

#[test]
fn the_fields_that_a_template_looks_at_are_known() {
    let library = Library::default().with("{{ define \"a\" }}{{ .Digest.Text }}{{ template \"b\" . }}{{ end }}{{ define \"b\" }}{{ template \"a\" . }}{{ end }}").unwrap();
    let reads = |text: &str| Template::parse_in(text, &library).unwrap().reads("Digest");
    for text in [
        "{{ .Digest }}",
        "{{ if .Digest }}x{{ end }}",
        "{{ with (index .Alerts 0).Digest.Text }}{{ . }}{{ end }}",
        "{{ range .Alerts }}{{ else }}{{ $.Digest.Headline | toUpper }}{{ end }}",
        "{{ template \"b\" . }}",
    ] {
        assert!(reads(text), "{text}");
    }
    assert!(!reads("Digest {{ .Status }} {{ \"Digest\" }}"));
    assert!(!reads("{{ define \"a\" }}mine{{ end }}{{ template \"b\" . }}"), "a later definition counts");
}
