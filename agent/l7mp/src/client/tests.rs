use super::*;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(10);

/// Answers one request after the other with these texts on one connection, and returns the requests.
async fn answering(answers: Vec<String>) -> (Client, JoinSet<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        for answer in answers {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            request.truncate(length);
            asked.push(String::from_utf8(request).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    (Client::connect(address, BOUND).await.unwrap(), tasks)
}

fn mk_answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn requests_share_a_connection_and_names_are_encoded() {
    let ok = mk_answer("200 OK", "{}");
    let (mut client, mut tasks) = answering(vec![ok.clone(), ok.clone(), ok]).await;
    let add = Request {
        method: Method::POST,
        path: vec!["clusters".into(), "portreeve/a@1".into(), "endpoints".into()],
        recursive: false,
        body: Some(json!({"endpoint": 1})),
    };
    client.send(&add).await.unwrap();
    client.send(&Request::delete(&["endpoints", "é"], true)).await.unwrap();
    client.send(&Request::get_whole(&["clusters"])).await.unwrap();
    let asked = tasks.join_next().await.unwrap().unwrap();
    assert!(
        asked[0].starts_with("POST /api/v1/clusters/portreeve%2Fa%401/endpoints HTTP/1.1\r\n"),
        "{asked:?}"
    );
    assert!(
        asked[0].contains("content-type: application/json\r\n") && asked[0].ends_with("{\"endpoint\":1}")
    );
    assert!(asked[1].starts_with("DELETE /api/v1/endpoints/%C3%A9?recursive=true HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[2].starts_with("GET /api/v1/clusters?recursive=true&format=terse "), "{asked:?}");
    assert_eq!(client.requests, 3);
}

#[tokio::test]
async fn end_of_the_connection_is_noticed_and_later_requests_fail() {
    let (mut client, mut tasks) = answering(Vec::new()).await;
    tasks.join_next().await.unwrap().unwrap();
    tokio::time::timeout(BOUND, client.closed()).await.unwrap();
    let error = client.send(&Request::get(&["admin"])).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn proxy_that_does_not_answer_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = Client::connect(listener.local_addr().unwrap(), BOUND).await.unwrap();
    let error = client.send(&Request::get(&["admin"])).await.unwrap_err().to_string();
    assert!(error.contains("no answer in 10s"), "{error}");
}

#[test]
fn refusals_are_told_apart_by_their_words() {
    let of = |status: u16, content: Value| {
        let body = json!({"status": status, "message": "Phrase", "content": content}).to_string();
        refusal(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    };
    let defined = "Cannot add cluster: Cluster \"x\" already defined";
    assert!(matches!(of(400, json!(defined)), Error::AlreadyDefined(text) if text == defined));
    for unknown in [
        "Cannot delete listener: Unknown listener \"x\"",
        "No such session",
        "Not Found",
        "Cannot delete RuleList: Unknown RuleList \"x\"",
    ] {
        assert!(matches!(of(400, json!(unknown)), Error::Unknown(text) if text == unknown), "{unknown}");
    }
    let bind = "UDPListener.run: \"n\": Could not bind to 0.0.0.0:1: bind EACCES";
    let text = of(400, json!(bind)).to_string();
    assert_eq!(text, format!("the proxy answered 400: {bind}"));
    assert!(
        matches!(of(422, json!([{"x": 1}])), Error::Refused { text, .. } if text.ends_with("[{\"x\":1}]"))
    );
    let cut = refusal(StatusCode::BAD_REQUEST, b"{\"status\": 400, \"content\": \"\xc3");
    assert!(cut.to_string().contains("\"content\""), "{cut}");
}
