use bytes::Bytes;

use super::*;
use crate::instrument::Registry;
use crate::model::MetricKind;

const NOW_MS: i64 = 1_700_000_000_000;

fn message(subject: &str, payload: &str) -> DeviceMessage {
    DeviceMessage {
        device_id: "press1".to_owned(),
        device_type: "sensor".to_owned(),
        subject: subject.to_owned(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        received_at: Timestamp::from_millis(NOW_MS),
        moved_ms: 0,
        origin: Origin::Gateway,
    }
}

fn settings(rules: Vec<MappingRule>) -> Settings {
    let subjects = ["logs.{device}", "logs.{device}.>", "factory.{line}.alerts.{level}"];
    Settings {
        telemetry: TelemetryConfig {
            rules,
            telemetry_defaults: true,
            factory_defaults: true,
            devices_max: 10,
            metric_relabel: Vec::new(),
            job: String::new(),
        },
        logs: LogsConfig { subjects: subjects.iter().map(|s| s.parse().unwrap()).collect(), scrub_secrets: true },
    }
}

fn take(rules: Vec<MappingRule>, subject: &str, payload: &str) -> Taken {
    Rules::new(&settings(rules)).take(&message(subject, payload), &Instruments::new(&Registry::default()))
}

/// What a message becomes with the built-in rules; `@` and milliseconds after the value if it has a time
/// other than its receipt.
#[track_caller]
fn check(subject: &str, payload: &str, expected: &[&str]) {
    assert_eq!(texts(&take(Vec::new(), subject, payload)), expected, "{subject} {payload}");
}

fn texts(taken: &Taken) -> Vec<String> {
    let text = |sample: &Mapped| {
        let at = sample.at.as_millis();
        let time = if at == NOW_MS { String::new() } else { format!(" @{at}") };
        format!("{} {}{time}", sample.labels, sample.value)
    };
    taken.samples.iter().map(text).collect()
}

#[test]
fn telemetry_just_works() {
    let labels = r#"device_id="press1", device_type="sensor""#;
    check("telemetry.press1.temp", "71.5", &[&format!("telemetry_temp{{{labels}}} 71.5")]);
    check("telemetry.press1.temp", "\"71.5\"", &[&format!("telemetry_temp{{{labels}}} 71.5")]);
    check("telemetry.press1.on", "true", &[&format!("telemetry_on{{{labels}}} 1")]);
    check(
        "telemetry.press1.oil.inletTemp",
        r#"{"value": 71.5, "unit": "celsius", "timestamp": "2023-11-14T22:13:19Z"}"#,
        &[&format!("telemetry_oil_inlet_temp{{{labels}, unit=\"celsius\"}} 71.5 @1699999999000")],
    );
    check(
        "telemetry.press1.drive",
        r#"{"currentSpeed": 3, "load": 0.5, "timestamp": 1699999999, "mode": "auto", "batch": 7}"#,
        &[
            &format!("telemetry_drive_current_speed{{{labels}}} 3 @1699999999000"),
            &format!("telemetry_drive_load{{{labels}}} 0.5 @1699999999000"),
        ],
    );
    check("telemetry.press1", r#"{"temp": 1}"#, &[&format!("telemetry_temp{{{labels}}} 1")]);
}

#[test]
fn the_historians_forms_are_understood() {
    check(
        "telemetry.press1.x",
        r#"{"deviceId":"a","lineId":"l1","batchId":"b","metricName":"pressure","value":5,"unit":"bar","quality":192}"#,
        &[r#"telemetry_pressure{device_id="press1", device_type="sensor", line_id="l1", unit="bar"} 5"#],
    );
    check(
        "telemetry.press1.filler",
        r#"{"metrics":{"speed":{"value":3,"unit":"rpm","quality":192},"load":0.5,"note":"x"}}"#,
        &[
            r#"telemetry_filler_load{device_id="press1", device_type="sensor"} 0.5"#,
            r#"telemetry_filler_speed{device_id="press1", device_type="sensor", unit="rpm"} 3"#,
        ],
    );
}

#[test]
fn what_is_no_reading_gives_nothing() {
    check("telemetry.press1.temp", r#""hot""#, &[]);
    check("telemetry.press1.temp", r#"{"value": "hot"}"#, &[]);
    check("telemetry.press1.temp", r#"{"value": null, "other": 5}"#, &[]);
    check("telemetry.press1.temp", "[1,2]", &[]);
    check("telemetry.press1.temp", "1e999", &[]);
    check("telemetry.press1", "5", &[]);
    assert_eq!(take(Vec::new(), "telemetry.press1.temp", "not json").result, "malformed");
    assert_eq!(take(Vec::new(), "other.subject", "1").result, "unmapped");
}

#[test]
fn the_factory_gives_its_series() {
    check(
        "factory.line1.status",
        r#"{"lineState":"Running","deviceCount":7,"onlineCount":6,"devices":{},"uptimeSeconds":5}"#,
        &[
            "factory_line_state{line_id=\"line1\"} 1",
            "factory_line_devices{line_id=\"line1\"} 7",
            "factory_line_devices_online{line_id=\"line1\"} 6",
        ],
    );
    for (word, state) in [("stopped", 0), ("running", 1), ("FAULT", 2), ("emergency_stop", 2)] {
        check(
            "factory.l.status",
            &format!(r#"{{"lineState":"{word}"}}"#),
            &[&format!("factory_line_state{{line_id=\"l\"}} {state}")],
        );
    }
    check("factory.l.status", r#"{"lineState":"dreaming"}"#, &[]);
    check(
        "factory.line1.oee",
        r#"{"availability":90,"performance":95.5,"quality":100,"oee":85.95,"goodCount":5}"#,
        &[
            "factory_oee_availability{line_id=\"line1\"} 0.9",
            "factory_oee_performance{line_id=\"line1\"} 0.955",
            "factory_oee_quality{line_id=\"line1\"} 1",
            "factory_oee_overall{line_id=\"line1\"} 0.8595",
        ],
    );
    check(
        "factory.line1.output",
        r#"{"count":5,"total":6,"rejects":1,"target":100,"rate":30,"batch":"b","lot":"l"}"#,
        &[
            "factory_production_count_total{line_id=\"line1\"} 6",
            "factory_production_rejects_total{line_id=\"line1\"} 1",
            "factory_production_target{line_id=\"line1\"} 100",
            "factory_production_rate{line_id=\"line1\"} 30",
        ],
    );
    check(
        "factory.line1.output",
        r#"{"count":5,"product":"A"}"#,
        &["factory_production_count_total{line_id=\"line1\"} 5"],
    );
    check(
        "factory.line1.quality.stats",
        r#"{"totalScans":10,"defectsByType":{"missing_label":2,"contamination":1}}"#,
        &[
            "factory_defect_count_total{defect_type=\"contamination\", line_id=\"line1\"} 1",
            "factory_defect_count_total{defect_type=\"missing_label\", line_id=\"line1\"} 2",
            "factory_inspected_count_total{line_id=\"line1\"} 10",
        ],
    );
    check(
        "factory.line1.eStop",
        r#"{"triggered":true,"device":"estop1","reason":"button","triggerCount":3}"#,
        &["factory_emergency_stop_total{line_id=\"line1\"} 3", "factory_emergency_stop_active{line_id=\"line1\"} 1"],
    );
    check(
        "factory.line1.temp",
        r#"{"value":72.5,"unit":"fahrenheit","reading":1,"timestamp":"2023-11-14T22:13:20.000Z"}"#,
        &["factory_temperature{device_id=\"press1\", line_id=\"line1\", unit=\"fahrenheit\"} 72.5"],
    );
    check(
        "factory.line1.conveyor.status",
        r#"{"mode":"running","currentSpeed":50,"targetSpeed":60,"online":true}"#,
        &[
            "factory_conveyor_speed{device_id=\"press1\", line_id=\"line1\"} 50",
            "factory_conveyor_target_speed{device_id=\"press1\", line_id=\"line1\"} 60",
            "factory_conveyor_running{device_id=\"press1\", line_id=\"line1\"} 1",
        ],
    );
    check(
        "factory.line1.conveyor.status",
        r#"{"mode":"fault"}"#,
        &["factory_conveyor_running{device_id=\"press1\", line_id=\"line1\"} 0"],
    );
}

fn rule(subject: &str, metric: &str, value: &str, labels: &[(&str, &str)]) -> MappingRule {
    MappingRule {
        name: "own".to_owned(),
        subject: subject.parse().unwrap(),
        timestamp: Some("when".parse().unwrap()),
        samples: vec![SampleRule {
            metric: metric.parse().unwrap(),
            kind: MetricKind::Gauge,
            unit: None,
            help: String::new(),
            value: value.parse().unwrap(),
            words: vec![("open".to_owned(), 1.0)],
            scale: 2.0,
            labels: labels.iter().map(|(n, t)| ((*n).to_owned(), t.parse().unwrap())).collect(),
        }],
    }
}

#[test]
fn rules_of_the_user_map_subject_and_payload() {
    let one = rule(
        "plant.{hall}.{what>}",
        "plant_{what}",
        "zones.{zone}.reading",
        &[("hall", "{hall}"), ("zone", "z{zone}"), ("by", "{device_id}"), ("unit", "{$.unit}"), ("gone", "{$.none}")],
    );
    let taken = take(
        vec![one],
        "plant.h1.oil.level",
        r#"{"unit":"mm","zones":{"1":{"reading":3},"2":{"reading":"open"},"3":{"reading":"shut"}},"when":1699999990000}"#,
    );
    assert_eq!(
        texts(&taken),
        [
            r#"plant_oil_level{by="press1", hall="h1", unit="mm", zone="z1"} 6 @1699999990000"#,
            r#"plant_oil_level{by="press1", hall="h1", unit="mm", zone="z2"} 2 @1699999990000"#,
        ]
    );
    assert_eq!(texts(&take(vec![rule("a.b", "1 m", "", &[])], "a.b", "4")), ["_1_m 8"]);
}

#[test]
fn times_that_cannot_be_believed_are_not() {
    let at = |payload: &str| take(vec![rule("a", "m", "v", &[])], "a", payload).samples[0].at.as_millis() - NOW_MS;
    assert_eq!(at(r#"{"v":1,"when":1700000060000}"#), 60_000);
    assert_eq!(at(r#"{"v":1,"when":1700000060001}"#), 0);
    assert_eq!(at(r#"{"v":1,"when":1699395200}"#), -604_800_000);
    assert_eq!(at(r#"{"v":1,"when":1699395199}"#), 0);
    assert_eq!(at(r#"{"v":1,"when":"1970-01-01T00:00:00Z"}"#), 0);
    assert_eq!(at(r#"{"v":1,"when":"soon"}"#), 0);
    assert_eq!(at(r#"{"v":1}"#), 0);
}

#[test]
fn devices_are_bounded() {
    let mut devices = Devices::new(2);
    assert!(devices.admits("a") && devices.admits("b"));
    assert!(!devices.admits("c"), "a third device");
    assert!(devices.admits("a"), "a known one");
    devices.refused("a");
    devices.refused("c");
    let snapshot = devices.snapshot(|id| id.len());
    assert_eq!((snapshot[0].series, snapshot[0].refused, snapshot.len()), (1, 1, 2));
}

#[test]
fn what_relabelling_drops_is_not_taken() {
    let mut settings = settings(Vec::new());
    settings.telemetry.metric_relabel = vec![RelabelRule {
        source_labels: vec!["__name__".to_owned(), "unit".to_owned()],
        separator: ";".to_owned(),
        regex: crate::model::AnchoredRegex::new("telemetry_temp;.+").unwrap(),
        modulus: 0,
        target_label: String::new(),
        replacement: String::new(),
        action: crate::model::RelabelAction::Drop,
    }];
    let rules = Rules::new(&settings);
    let taken = |payload: &str| {
        let instruments = Instruments::new(&Registry::default());
        rules.take(&message("telemetry.press1.temp", payload), &instruments).samples.len()
    };
    assert_eq!((taken(r#"{"value": 1, "unit": "x"}"#), taken("1")), (0, 1));
}

#[test]
fn devices_have_series_of_their_own() {
    let mut devices = Devices::new(10);
    devices.heard("press1", "telemetry.press1.temp", Timestamp::from_millis(NOW_MS));
    devices.heard("press1", "telemetry.press1.temp", Timestamp::from_millis(NOW_MS + 500));
    let stats = r#"{"reconnectAttempts":3,"received":{"a.b":9},"currentBufferSize":4,"latencySeconds":0.0125}"#;
    let taken = take(Vec::new(), "devices.press1.stats", stats);
    devices.reported("press1", &taken.stats.unwrap());
    assert_eq!(take(Vec::new(), "devices.other.stats", stats).stats, None, "only of itself");
    let presence = [DevicePresence {
        device_id: "press1".to_owned(),
        device_type: "sensor".to_owned(),
        is_connected: true,
        since: None,
        last_seen: None,
    }];
    let text = crate::wire::exposition::render(&devices.families(&presence, Timestamp::from_millis(NOW_MS)));
    for line in [
        "device_connection_state{device_id=\"press1\",device_type=\"sensor\"} 1",
        "device_messages_published_total{device_id=\"press1\",subject=\"telemetry.press1.temp\"} 2",
        "device_messages_received_total{device_id=\"press1\",subject=\"a.b\"} 9",
        "device_reconnect_attempts_total{device_id=\"press1\"} 3",
        "device_buffer_size{device_id=\"press1\"} 4",
        "device_latency_seconds{device_id=\"press1\"} 0.0125",
        "device_last_message_timestamp{device_id=\"press1\"} 1700000000.5",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn heartbeats_say_who_is_there_and_how_it_is() {
    let beat = |device: &str, origin, body: &str| {
        let message = DeviceMessage { origin, ..message(&format!("heartbeat.{device}"), body) };
        let rules = Rules::new(&settings(Vec::new()));
        rules.take(&message, &Instruments::new(&Registry::default())).heartbeat.map(|(id, beat)| (id, beat.health))
    };
    let is = |id: &str, health| Some((id.to_owned(), health));
    assert_eq!(beat("press1", Origin::Gateway, r#"{"status":"degraded"}"#), is("press1", 0.5));
    assert_eq!(beat("press1", Origin::Gateway, ""), is("press1", 1.0));
    assert_eq!(beat("other", Origin::Gateway, "{}"), None, "a device speaks for itself");
    assert_eq!(beat("far", Origin::Bus, r#"{"status":"unhealthy"}"#), is("far", 0.0));
    let mut devices = Devices::new(10);
    let at = Timestamp::from_millis(NOW_MS);
    devices.beat("far", Heartbeat { health: 0.5, at });
    let text = |now| crate::wire::exposition::render(&devices.families(&[], now));
    let there = text(at + Duration::from_secs(90));
    assert!(there.contains(r#"device_connection_state{device_id="far"} 1"#), "{there}");
    assert!(there.contains(r#"device_health{device_id="far"} 0.5"#), "{there}");
    let gone = text(at + Duration::from_millis(90_001));
    assert!(gone.contains(r#"device_connection_state{device_id="far"} 0"#), "{gone}");
}

#[test]
fn elements_of_arrays_and_units_are_mapped() {
    let mut one = rule("a", "pump_flow", "readings.{n}.v", &[("n", "{n}"), ("first", "{$.readings.0.id}")]);
    one.samples[0].unit = Some("{$.unit}".parse().unwrap());
    let body = r#"{"unit":"l/min","readings":[{"id":"p","v":1},{"v":2},{"id":"q"}]}"#;
    assert_eq!(
        texts(&take(vec![one], "a", body)),
        [r#"pump_flow_l_min{first="p", n="0"} 2"#, r#"pump_flow_l_min{first="p", n="1"} 4"#]
    );
    let name = |metric: &str, kind, unit: &str| {
        let mut rule = rule("a", metric, "", &[]);
        rule.samples[0].kind = kind;
        rule.samples[0].unit = Some(unit.parse().unwrap());
        take(vec![rule], "a", "1").samples[0].labels.metric_name().to_owned()
    };
    assert_eq!(name("x", MetricKind::Counter, "bytes"), "x_bytes_total");
    assert_eq!(name("x_bytes_total", MetricKind::Counter, "bytes"), "x_bytes_total");
    assert_eq!(name("x", MetricKind::Counter, ""), "x_total");
    assert_eq!(name("x_celsius", MetricKind::Gauge, "celsius"), "x_celsius");
    assert_eq!(name("kilobytes", MetricKind::Gauge, "bytes"), "kilobytes_bytes");
    assert_eq!(name("x", MetricKind::Gauge, "°C"), "x_C");
}

#[test]
fn a_trial_tells_what_a_message_becomes_and_why_not() {
    let trial = |rules: Vec<MappingRule>, subject: &str, payload: &str| {
        let trial = trial::run(&settings(rules), &message(subject, payload));
        let samples = trial.samples.iter().map(|s| format!("{} {}", s.labels, s.value));
        (trial.result, samples.chain(trial.remarks).collect::<Vec<_>>())
    };
    let own = || vec![rule("a.{b}", "m_{b}", "v.{n}", &[("n", "{n}")])];
    assert_eq!(
        trial(own(), "a.x", r#"{"v":{"p":1,"q":"shut"},"when":"1999-01-01T00:00:00Z"}"#),
        (
            "mapped",
            vec![
                r#"m_x{n="p"} 2"#.to_owned(),
                "rule own: its time 1999-01-01T00:00:00.000Z is not believed, that of its receipt counts".to_owned(),
                "rule own, metric m_{b}: what is there is no number and none of the rule's words".to_owned(),
            ]
        )
    );
    let told = |subject: &str, payload: &str| trial(own(), subject, payload).1.join("; ");
    assert_eq!(told("a.x", "{}"), "rule own, metric m_{b}: there is nothing at v.{n}");
    assert_eq!(told("b.x", "1"), "no rule is for this subject, and it is none of a log line");
    assert_eq!(told("a.x", "{"), "the body is not JSON");
    assert_eq!(told("telemetry.press1.state", r#"{"text":"fine"}"#), "nothing in the body is a reading");
    let logged = trial::run(&settings(own()), &message("logs.press1", "hot"));
    assert_eq!((logged.result, logged.line.map(|l| l.line)), ("logged", Some("hot".to_owned())));
}

#[test]
fn the_series_of_a_device_that_has_gone_end_and_begin_again() {
    let clock = crate::clock::Clock::hand_set(crate::clock::Clock::system().now());
    let (db, registry) = (Db::in_memory(), Registry::default());
    let sinks = Sinks {
        db: db.clone(),
        intake: Intake::new(db.clone(), clock.clone(), crate::collect::Limits::default(), &registry),
        logs: LogStore::in_memory(),
        clock: clock.clone(),
        instruments: Instruments::new(&registry),
    };
    let is_there = |is_connected| {
        let (device_id, device_type) = ("press1".to_owned(), String::new());
        Arc::new(vec![DevicePresence { device_id, device_type, is_connected, since: None, last_seen: None }])
    };
    let presence = watch::Sender::new(is_there(true));
    let settings = settings(Vec::new());
    let shared = Shared { devices: Devices::new(10), messages: 0, unmapped: 0, samples: 0, log_lines: 0 };
    let mut worker = Worker {
        rules: Rules::new(&settings),
        settings: watch::channel(settings).1,
        sinks,
        shared: Arc::new(Mutex::new(shared)),
        metadata: HashMap::new(),
        presence: presence.subscribe(),
        ends: Ends::default(),
    };
    let publish = |worker: &mut Worker, value: &str| {
        let stamp = clock.stamp();
        let message = message("telemetry.press1.temp", value);
        worker.keep(&mut [DeviceMessage { received_at: stamp.at, moved_ms: stamp.moved_ms, ..message }]);
    };
    let pass = |worker: &mut Worker, seconds: u64| {
        for _ in 0..seconds / 5 {
            clock.advance(Duration::from_secs(5));
            worker.end_series();
        }
    };
    let newest = || {
        let name = [crate::model::Matcher::equal("__name__", "telemetry_temp")];
        let now = clock.now();
        let mut set = db.querier().select(&name, now - Duration::from_secs(3600), now, 1000).unwrap();
        *set.next().unwrap().unwrap().values.last().unwrap()
    };
    publish(&mut worker, "1");
    pass(&mut worker, 100);
    assert!((newest() - 1.0).abs() < 1e-9, "a quiet device that is there goes on");
    presence.send_replace(is_there(false));
    pass(&mut worker, 30);
    assert!((newest() - 1.0).abs() < 1e-9, "it may be back soon");
    pass(&mut worker, 5);
    assert!(crate::model::is_stale(newest()));
    presence.send_replace(is_there(true));
    pass(&mut worker, 5);
    publish(&mut worker, "2");
    pass(&mut worker, 60);
    assert!((newest() - 2.0).abs() < 1e-9);
}
