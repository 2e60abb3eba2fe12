//! What is done while nobody is there who could log in.

use super::*;

fn nobody() -> Outcome {
    Outcome::Failed(Failure::given_up(401, "nobody logged in"))
}

fn is_reopening(due: &Due) -> bool {
    matches!(due, Due::Reopen(_))
}

#[test]
fn a_session_that_wants_a_login_is_left_alone_until_the_host_writes() {
    let mut bench = Bench::new(|_| {});
    let stream = bench.open();
    bench.refuse(stream.number, 404, "");
    let reopening = bench.post();
    bench.later.clear();
    bench.hear(Event::Ended(reopening.number, nobody()));
    assert!(!bench.later.iter().any(is_reopening), "{:?}", bench.later);
    bench.conversation.keep_alive();
    bench.act();
    assert!(bench.posts.is_empty() && bench.told.is_empty());
    // The host is there again.
    bench.write(&call(1));
    assert_eq!(bench.post().body, initialize(0).to_string());
}

#[test]
fn a_stream_that_breaks_brings_one_login_page_at_most() {
    let mut bench = Bench::new(|settings| settings.transport = Transport::Sse);
    bench.write(&initialize(0));
    let listen = bench.listens.remove(0);
    let endpoint = Url::parse("https://mcp.example/messages").unwrap();
    bench.hear(Event::Endpoint(listen.number, endpoint));
    let post = bench.post();
    bench.hear(Event::Ended(post.number, Outcome::Complete));
    let answer = Bytes::from_static(br#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2024-11-05"}}"#);
    let answer = Message::read(answer).unwrap();
    bench.hear(Event::Message(listen.number, Box::new(answer), Share::default()));
    let mut pages = 0;
    bench.hear(Event::Ended(listen.number, Outcome::Complete));
    while !bench.later.is_empty() {
        for due in std::mem::take(&mut bench.later) {
            bench.conversation.due(due);
        }
        bench.act();
        for listen in std::mem::take(&mut bench.listens) {
            pages += 1;
            assert!(pages < 10, "a page after each other");
            bench.hear(Event::Ended(listen.number, nobody()));
        }
    }
    assert_eq!(pages, 1);
    bench.write(&call(1));
    assert_eq!(bench.listens.len(), 1);
}

#[test]
fn a_ping_that_wants_a_login_is_the_last_one() {
    let mut bench = Bench::new(|_| {});
    bench.open();
    bench.conversation.keep_alive();
    bench.act();
    let ping = bench.post();
    bench.hear(Event::Ended(ping.number, nobody()));
    bench.conversation.keep_alive();
    bench.act();
    assert!(bench.posts.is_empty());
    bench.write(&call(1));
    let post = bench.post();
    bench.answer(&post, None, &json!({}));
    bench.conversation.keep_alive();
    bench.act();
    assert_eq!(bench.posts.len(), 1);
}

#[test]
fn a_stream_that_wants_a_login_comes_back_with_the_host() {
    let mut bench = Bench::new(|_| {});
    let stream = bench.open();
    bench.hear(Event::Ended(stream.number, nobody()));
    assert!(bench.listens.is_empty());
    bench.write(&call(1));
    assert_eq!(session_of(&bench.listens.remove(0).headers), Some("one"));
    bench.write(&call(2));
    assert!(bench.listens.is_empty(), "one is enough");
}

#[test]
fn a_message_that_finds_the_session_lost_opens_it() {
    let mut bench = Bench::new(|_| {});
    bench.open();
    bench.write(&call(1));
    bench.write(&call(2));
    let [first, second] = <[Post; 2]>::try_from(std::mem::take(&mut bench.posts)).unwrap();
    bench.refuse(first.number, 404, "");
    let reopening = bench.post();
    bench.hear(Event::Ended(reopening.number, nobody()));
    assert_eq!(bench.told[0]["id"], 1);
    // Slower to be refused: nothing else would open the session for it.
    bench.refuse(second.number, 404, "");
    assert_eq!(bench.post().body, initialize(0).to_string());
}
