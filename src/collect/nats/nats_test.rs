use serde_json::json;

use super::*;
use crate::wire::exposition::render;

const URL: &str = "http://127.0.0.1:8222";

/// Returns the lines of samples, without the labels of the server.
fn lines(families: Families) -> Vec<String> {
    let text = render(&families.finish());
    let server = format!("server_id=\"{URL}\"");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.replace(&format!("{{{server}}}"), "").replace(&format!(",{server}"), "")).collect()
}

#[track_caller]
fn check(lines: &[String], expected: &[&str]) {
    for line in expected {
        assert!(lines.iter().any(|l| l == line), "{line} in\n{}", lines.join("\n"));
    }
}

#[test]
fn varz_has_both_names() {
    let varz = json!({
        "server_id": "NB2", "server_name": "box", "connections": 3, "in_msgs": 10, "out_msgs": 20, "in_bytes": 30,
        "out_bytes": 40, "cpu": 1.5, "http_req_stats": {"/varz": 5}, "connect_urls": ["a"],
        "jetstream": {"config": {"max_storage": 1000}, "stats": {"storage": 900, "api": {"total": 7}}}
    });
    let mut families = Families::default();
    names::varz(URL, &varz, &mut families);
    let lines = lines(families);
    check(
        &lines,
        &[
            "gnatsd_varz_connections 3",
            "gnatsd_varz_cpu 1.5",
            "gnatsd_varz_jetstream_stats_storage 900",
            "gnatsd_varz_jetstream_config_max_storage 1000",
            "gnatsd_varz_jetstream_stats_api_total 7",
            "nats_core_connection_count 3",
            "nats_core_msg_sent_count 20",
            "nats_core_msg_recv_count 10",
            "nats_core_bytes_sent 40",
            "nats_core_bytes_recv 30",
            "nats_jetstream_storage_used 900",
            "nats_jetstream_storage_used_bytes 900",
            "nats_jetstream_storage_limit_bytes 1000",
        ],
    );
    assert!(lines.iter().all(|line| !line.contains("http_req")), "{lines:?}");
}

#[test]
fn connections_are_summed() {
    let connz: Connz = serde_json::from_value(json!({
        "num_connections": 2, "total": 2, "limit": 256,
        "connections": [{"cid": 1, "in_msgs": 5, "pending_bytes": 1}, {"cid": 2, "in_msgs": 7, "subscriptions": 3}]
    }))
    .unwrap();
    let mut families = Families::default();
    names::connz(URL, &connz, &mut families);
    check(
        &lines(families),
        &[
            "gnatsd_connz_num_connections 2",
            "gnatsd_connz_in_msgs 12",
            "gnatsd_connz_pending_bytes 1",
            "gnatsd_connz_subscriptions 3",
        ],
    );
}

fn some_jsz() -> Jsz {
    serde_json::from_value(json!({
        "config": {"max_memory": 1, "max_storage": 2}, "streams": 1, "consumers": 2, "messages": 9, "bytes": 99,
        "account_details": [{
            "name": "$G", "id": "$G", "storage": 99, "reserved_memory": 18446744073709551615_u64,
            "stream_detail": [{
                "name": "EVENTS", "stream_raft_group": "S-R1F", "config": {"max_bytes": -1, "max_msgs": 100},
                "state": {"messages": 9, "bytes": 99, "first_seq": 1, "last_seq": 9, "consumer_count": 2},
                "consumer_detail": [
                    {"name": "c1", "delivered": {"consumer_seq": 4, "stream_seq": 5}, "num_ack_pending": 1, "num_pending": 4},
                    {"name": "c2", "num_pending": 8}
                ]
            }]
        }]
    }))
    .unwrap()
}

#[test]
fn streams_and_consumers_have_both_names() {
    let mut families = Families::default();
    let left_out = names::jsz(URL, &json!({"server_name": "box"}), &some_jsz(), 100, &mut families);
    assert_eq!(left_out, 0);
    let stream = "account=\"$G\",account_id=\"$G\",account_name=\"$G\",is_meta_leader=\"true\",is_stream_leader=\"true\",server_name=\"box\",stream_name=\"EVENTS\",stream_raft_group=\"S-R1F\"";
    let consumer = "account=\"$G\",account_id=\"$G\",account_name=\"$G\",consumer_name=\"c1\",is_consumer_leader=\"true\",is_meta_leader=\"true\",is_stream_leader=\"true\",server_name=\"box\",stream_name=\"EVENTS\",stream_raft_group=\"S-R1F\"";
    let lines = lines(families);
    check(
        &lines,
        &[
            "jetstream_server_total_streams{is_meta_leader=\"true\",server_name=\"box\"} 1",
            &format!("jetstream_stream_total_messages{{{stream}}} 9"),
            &format!("jetstream_stream_limit_messages{{{stream}}} 100"),
            &format!("jetstream_consumer_num_pending{{{consumer}}} 4"),
            &format!("jetstream_consumer_delivered_stream_seq{{{consumer}}} 5"),
            "nats_jetstream_stream_messages{account=\"$G\",stream_name=\"EVENTS\"} 9",
            "nats_jetstream_consumer_num_pending{account=\"$G\",consumer_name=\"c1\",stream_name=\"EVENTS\"} 4",
            "nats_jetstream_consumer_pending{account=\"$G\",consumer_name=\"c2\",stream_name=\"EVENTS\"} 8",
            "nats_jetstream_consumer_ack_pending{account=\"$G\",consumer_name=\"c1\",stream_name=\"EVENTS\"} 1",
        ],
    );
    assert!(lines.iter().any(|l| l.starts_with("jetstream_account_max_memory") && l.ends_with(" -1")), "{lines:?}");
}

#[test]
fn what_is_over_the_limit_is_left_out_and_counted() {
    for (max, left_out, series) in [(3, 0, 2), (2, 1, 1), (1, 2, 0), (0, 3, 0)] {
        let mut families = Families::default();
        assert_eq!(names::jsz(URL, &json!({}), &some_jsz(), max, &mut families), left_out);
        let consumers = lines(families).iter().filter(|l| l.starts_with("jetstream_consumer_num_pending")).count();
        assert_eq!(consumers, series, "{max}");
    }
}

#[test]
fn health_is_zero_when_well() {
    for (status, line) in [("ok", "gnatsd_healthz_status 0"), ("unavailable", "gnatsd_healthz_status 1")] {
        let mut families = Families::default();
        names::healthz(URL, &Healthz { status: status.to_owned() }, &mut families);
        check(&lines(families), &[line]);
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_down_and_says_why() {
    let server = NatsServer { url: "http://127.0.0.1:1".to_owned(), instance: "nats".to_owned() };
    let config = NatsConfig {
        job: "nats".to_owned(),
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(2),
        servers: vec![server.clone()],
        connections_max: 256,
        streams_max: 100,
    };
    let reading = NatsReader::new(&config, &server).read().await;
    assert!(!reading.is_up && reading.families.is_empty());
    assert!(
        reading.problems[0].starts_with("/varz: ") && reading.problems[0].contains("refused"),
        "{:?}",
        reading.problems
    );
}

#[test]
fn consumers_that_come_and_go_are_one() {
    let consumer = |name: &str, durable: &str, description: &str, pending: u32| {
        let config = json!({"durable_name": durable, "description": description});
        json!({"name": name, "config": config, "num_pending": pending,
            "delivered": {"last_active": "2026-11-21T12:00:00.5Z"}, "ack_floor": {"last_active": "0001-01-01T00:00:00Z"}})
    };
    let mut jsz: Jsz = serde_json::from_value(json!({
        "now": "2026-11-21T12:00:03Z",
        "account_details": [{"name": "$G", "stream_detail": [{"name": "S", "sources": [{"name": "UP", "lag": 4}],
            "consumer_detail": [
                consumer("historian", "historian", "", 1), consumer("x7Yq", "", "", 2), consumer("k2Lp", "", "", 3),
                consumer("device-a-1", "device-a-1", "a device's place", 10),
                consumer("device-b-1", "device-b-1", "a device's place", 20),
            ]}]}]
    }))
    .unwrap();
    fold::fold(&mut jsz.account_details[0].stream_detail[0]);
    let mut families = Families::default();
    assert_eq!(names::jsz(URL, &json!({"server_name": "box"}), &jsz, 100, &mut families), 0);
    let lines = lines(families);
    let of = |name: &str| -> Vec<&String> { lines.iter().filter(|line| line.starts_with(name)).collect() };
    let pending = of("nats_jetstream_consumer_num_pending");
    assert_eq!(pending.len(), 3, "{pending:?}");
    for (name, value) in [("historian", 1), ("ephemeral", 5), ("devices", 30)] {
        let is_it = |line: &&&String| line.contains(name) && line.ends_with(&format!(" {value}"));
        assert!(pending.iter().any(|line| is_it(&line)), "{name} in {pending:?}");
    }
    let last = of("jetstream_consumer_last_delivery_seconds");
    assert!(last.len() == 1 && last[0].ends_with(" 2.5"), "{last:?}");
    assert!(of("jetstream_consumer_last_ack_seconds").is_empty(), "never");
    assert!(of("jetstream_stream_source_lag")[0].ends_with(" 4"));
}

#[test]
fn leaves_routes_and_gateways_are_summed_and_certificates_end() {
    let mut families = Families::default();
    let leafz: answer::Leafz = serde_json::from_value(json!({"leafnodes": 2, "leafs": [
        {"name": "edge", "account": "A", "ip": "10.0.0.1", "rtt": "2ms", "in_msgs": 3},
        {"name": "edge", "account": "A", "ip": "10.0.0.1", "rtt": "4ms", "in_msgs": 5}]}))
    .unwrap();
    neighbours::leafz(URL, &leafz, &mut families);
    let routez = json!({"num_routes": 1, "routes": [{"pending_size": 7, "in_msgs": 2}]});
    neighbours::routez(URL, &serde_json::from_value(routez).unwrap(), &mut families);
    let gatewayz = json!({"outbound_gateways": {"west": {"configured": true, "connection": {"out_msgs": 9}}},
        "inbound_gateways": {"west": [{"connection": {"in_msgs": 1}}, {"connection": {"in_msgs": 2}}]}});
    neighbours::gatewayz(URL, &serde_json::from_value(gatewayz).unwrap(), &mut families);
    neighbours::certificates(URL, &json!({"tls_cert_not_after": "2027-01-01T00:00:00Z"}), &mut families);
    check(
        &lines(families),
        &[
            "gnatsd_leafz_conn_nodes_total 2",
            r#"gnatsd_leafz_conn_rtt{account="A",ip="10.0.0.1",name="edge"} 0.004"#,
            r#"gnatsd_leafz_conn_in_msgs{account="A",ip="10.0.0.1",name="edge"} 8"#,
            "gnatsd_routez_num_routes 1",
            "gnatsd_routez_pending_bytes 7",
            r#"gnatsd_gatewayz_outbound_gateway_conn_out_msgs{remote_gateway_name="west"} 9"#,
            r#"gnatsd_gatewayz_inbound_gateway_conn_in_msgs{remote_gateway_name="west"} 3"#,
            r#"nats_tls_certificate_expires_seconds{listener="client"} 1798761600"#,
        ],
    );
}

#[test]
fn lists_that_are_empty_may_be_null() {
    let leafz: answer::Leafz = serde_json::from_value(json!({"leafnodes": 0, "leafs": null})).unwrap();
    let jsz: Jsz = serde_json::from_value(json!({"account_details": null})).unwrap();
    let gatewayz: answer::Gatewayz = serde_json::from_value(json!({"inbound_gateways": null})).unwrap();
    assert!(leafz.leafs.is_empty() && jsz.account_details.is_empty() && gatewayz.inbound_gateways.is_empty());
}
