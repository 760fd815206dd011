//! Questions, what they cost and what helps to ask them, through the front door of a real box.

use andon::model::Labels;
use andon::storage::tsdb::Batch;
use serde_json::Value;

use crate::pages::Plant;

/// Returns what the box offers at the place of `|`.
async fn offers(plant: &Plant, text: &str) -> (Vec<String>, Value) {
    let at = text.split('|').next().unwrap().encode_utf16().count();
    let text: String = text.replace('|', "").bytes().map(|b| format!("%{b:02x}")).collect();
    let answer = plant.get(&format!("/explore/complete?q={text}&at={at}")).await;
    assert_eq!(answer.status, 200);
    let found: Value = serde_json::from_str(&answer.body).unwrap();
    let inserts = found["offers"].as_array().unwrap().iter().map(|o| o["insert"].as_str().unwrap().to_owned());
    (inserts.collect(), found)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_stand_at_the_cursor_is_offered() {
    let plant = Plant::start().await;
    let (found, answer) = offers(&plant, "sum(factory_line_s|)").await;
    assert_eq!(found, ["factory_line_state"]);
    assert_eq!((&answer["from"], &answer["to"]), (&4.into(), &18.into()));
    let (found, answer) = offers(&plant, "rat|").await;
    assert_eq!(found.first().map(String::as_str), Some("rate("), "{found:?}");
    assert_eq!(answer["offers"][0]["name"], "rate(range)");
    assert!(answer["offers"][0]["help"].as_str().unwrap().starts_with("Growth per second"));
    let (found, _) = offers(&plant, "factory_line_state{|}").await;
    assert!(found.contains(&"line_id=\"".to_owned()), "{found:?}");
    let (found, _) = offers(&plant, "factory_line_state{line_id=\"|\"}").await;
    assert_eq!(found, ["line1"]);
    let (found, _) = offers(&plant, "sum by (|) (factory_line_state)").await;
    assert!(found.contains(&"line_id".to_owned()), "{found:?}");
    let (found, _) = offers(&plant, "rate(x[5|").await;
    assert_eq!(found, ["5m]"]);
    for nothing in ["", "|", "\"fac|", "factory_line_state |", "1|"] {
        assert_eq!(offers(&plant, nothing).await.0, Vec::<String>::new(), "{nothing:?}");
    }
    plant.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_comes_with_its_type_and_help() {
    let plant = Plant::start().await;
    plant.wait_for("/explore?find=andon_alarms_active", "Alarms whose cause is there.").await;
    let (_, answer) = offers(&plant, "andon_alarms_act|").await;
    assert_eq!(answer["offers"][0]["kind"], "gauge");
    assert_eq!(answer["offers"][0]["help"], "Alarms whose cause is there.");
    let (found, _) = offers(&plant, "andon|").await;
    assert!(found.len() <= 30, "bounded");
    plant.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_questions_stand_below_each_other() {
    let plant = Plant::start().await;
    let body = plant.get("/explore?q=factory_line_state&q2=sum(&range=15m&end=1000000&step=30s&add=1").await.body;
    for text in [
        "name=\"q\"",
        "name=\"q2\"",
        "name=\"q3\"",
        "id=\"mistake2\"",
        "name=\"range\" value=\"15m\"",
        "name=\"step\" value=\"30s\"",
        "name=\"end\" value=\"1000000\"",
        "href=\"?end=1000000&#38;q=factory_line_state&#38;range=15m&#38;step=30s\"",
    ] {
        assert!(body.contains(text), "no {text} in {body}");
    }
    plant.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_a_file_for_a_spreadsheet() {
    let plant = Plant::start().await;
    let answer = plant.get("/explore/table.csv?q=factory_line_state%2B0&range=30m&step=5m").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.headers["content-disposition"].to_str().unwrap().starts_with("attachment"));
    let mut lines = answer.body.lines();
    let head = lines.next().unwrap();
    assert!(head.starts_with("time,\"{") && head.contains("line_id=\"\"line1\"\""), "{head}");
    let rows: Vec<&str> = lines.collect();
    assert!((5..=7).contains(&rows.len()), "{rows:?}");
    assert!(rows.iter().all(|row| row.contains("T") && row.split(',').count() == 2));
    assert_eq!(plant.get("/explore/table.csv?q=sum(").await.status, 422);
    assert_eq!(plant.get("/explore/table.csv").await.status, 400);
    plant.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_an_expression_have_their_figures() {
    let plant = Plant::start().await;
    let body = plant.get("/explore?q=sum(rate(factory_production_count_total%5B5m%5D))%2B1&range=30m").await.body;
    let parts = body.split("<table class=\"parts\">").nth(1).and_then(|t| t.split("</table>").next()).unwrap();
    for text in ["sum(<i>…</i>)", "rate(<i>…</i>)", "factory_production_count_total[5m]"] {
        assert!(parts.contains(text), "no {text} in {parts}");
    }
    assert!(!plant.get("/explore?q=1").await.body.contains("class=\"parts\""));
    plant.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asked_for_is_told_from_what_somebody_wants() {
    let plant = Plant::start().await;
    let state = plant.app.state();
    let mut batch = Batch::default();
    for name in ["unloved", "perhaps"] {
        batch.push(&Labels::from_pairs([("__name__", name)]), state.clock.now(), 1.0);
    }
    state.db.append(&batch).unwrap();
    let row = async |name: &str| {
        let body = plant.get("/cardinality?all=1").await.body;
        let row = body.split("<tr>").find(|row| row.contains(&format!("metric={name}#metric"))).map(str::to_owned);
        row.unwrap_or_else(|| panic!("{name} is not listed in {body}"))
    };
    assert!(row("unloved").await.contains("never"));
    assert!(row("factory_line_state").await.contains("by rules"), "its rule LineFault");
    plant.get("/api/v1/query?query=sum(unloved)").await;
    assert!(!row("unloved").await.contains("never"));
    let unasked = plant.get("/cardinality?all=1&wanted=no").await.body;
    let listed = unasked.split("id=\"labels\"").next().unwrap();
    assert!(!listed.contains("metric=unloved#") && !listed.contains("metric=factory_line_state#"));
    plant.get("/federate?match[]=%7Bjob%3D%22nobody%22%7D").await;
    assert!(row("perhaps").await.contains("≈"), "it may have been meant");
    let body = plant.get("/cardinality?metric=factory_line_state").await.body;
    assert!(body.contains("LineFault") && body.contains("regex: factory_line_state\n"), "{body}");
    plant.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relabelling_is_shown_rule_by_rule() {
    let plant = Plant::start().await;
    let rules = "-+source_labels:+[a]%0A++target_label:+b%0A-+regex:+a%0A++action:+labeldrop%0A\
                 -+source_labels:+[b]%0A++regex:+x%0A++action:+drop%0A-+action:+drop";
    let page = async |labels: &str, rules: &str| {
        plant.get(&format!("/targets/relabel?rules=own&labels={labels}&own={rules}")).await.body
    };
    let body = page("m{a=%22y%22}", rules).await;
    for text in ["<ins>b=y</ins>", "<del>a=y</del>", "Does not match", "Drops it", "Nothing is left"] {
        assert!(body.contains(text), "no {text} in {body}");
    }
    let body = page("m{a=%22x%22}", rules).await;
    assert!(body.contains("1 more rule is not reached."), "{body}");
    let body = page("m{a=", rules).await;
    assert!(body.contains("<mark>"), "{body}");
    let body = page("m", "-+regex:+%22(%22%0A++action:+dorp").await;
    assert!(body.contains("2:11") && body.contains("did you mean"), "{body}");
    plant.app.stop().await;
}
