//! Questions, what they cost and what helps to ask them, through the front door of a real box.

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
