//! FT-16, DS-08, MB-19: many streams, long ones, slow readers, and how they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use doorward_testkit::http::Request;
use doorward_testkit::multiplex::Multiplex;
use doorward_testkit::upstream::{Answer, Part, Recorded, event, friendly};
use doorward_testkit::usage::Usage;
use doorward_testkit::{Doorward, eventually, marker, mcp};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::{Catalogue, RA};

fn full() -> bool {
    std::env::var_os("DOORWARD_FULL").is_some()
}

/// Subscribes to everything, with this request id.
fn listen(doorward: &Doorward, token: &str, id: &Value) -> Request {
    let everything = json!({ "notifications": { "toolsListChanged": true } });
    let request = mcp::modern(doorward, RA, "subscriptions/listen", everything).bearer(token);
    let mut message: Value = serde_json::from_slice(request.body_bytes()).unwrap();
    message["id"] = id.clone();
    request.json(&message)
}

/// A request as it goes over an HTTP/1.1 connection, for clients that are nothing but a socket.
fn on_the_wire(doorward: &Doorward, token: &str, request: &Request, method: &str, name: &str) -> Vec<u8> {
    let name = if name.is_empty() {
        String::new()
    } else {
        format!("Mcp-Name: {name}\r\n")
    };
    let head = format!(
        "POST {RA} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {}\r\nMcp-Method: {method}\r\n{name}\
         Content-Length: {}\r\n\r\n",
        doorward.host(),
        mcp::MODERN,
        request.body_bytes().len()
    );
    [head.as_bytes(), request.body_bytes()].concat()
}

/// What every event of a keep-alive holds, and nothing else that is sent.
const PULSE: &[u8] = b": *\n\n";
const BETWEEN_PULSES: Duration = Duration::from_secs(10);

/// Acknowledges, then is quiet but for a comment now and then.
fn quiet(request: &Recorded) -> Answer {
    let body = request.json();
    if body["method"] != "subscriptions/listen" {
        return friendly(request);
    }
    let acknowledged = json!({ "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": { "_meta": { "io.modelcontextprotocol/subscriptionId": body["id"] }, "notifications": body["params"]["notifications"] } });
    Answer::events(vec![
        event(None, &acknowledged),
        Part::Repeat(PULSE.to_vec(), BETWEEN_PULSES),
    ])
}

/// Streams of one kind, each read by a task that counts what comes.
struct Listeners {
    pulses: Vec<Arc<AtomicU64>>,
    ended: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    connections: Vec<Multiplex>,
}

impl Listeners {
    fn new() -> Self {
        Self {
            pulses: Vec::new(),
            ended: Arc::default(),
            tasks: Vec::new(),
            connections: Vec::new(),
        }
    }

    /// One more over a connection of its own.
    async fn over_http_1(&mut self, doorward: &Doorward, token: &str) {
        let request = listen(doorward, token, &json!(1));
        let bytes = on_the_wire(doorward, token, &request, "subscriptions/listen", "");
        let mut socket = TcpStream::connect(doorward.address).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        let mut buffer = [0; 1024];
        let mut begun = Vec::new();
        while doorward_testkit::raw::find(&begun, b"acknowledged").is_none() {
            let count = socket.read(&mut buffer).await.unwrap();
            assert!(count > 0, "a stream, not {}", String::from_utf8_lossy(&begun));
            begun.extend_from_slice(&buffer[..count]);
        }
        assert!(
            begun.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&begun)
        );
        let (pulses, ended) = (Arc::new(AtomicU64::new(count(&begun))), Arc::clone(&self.ended));
        self.pulses.push(Arc::clone(&pulses));
        self.tasks.push(tokio::spawn(async move {
            let mut buffer = [0; 64];
            while let Ok(length @ 1..) = socket.read(&mut buffer).await {
                pulses.fetch_add(count(&buffer[..length]), Ordering::SeqCst);
            }
            ended.fetch_add(1, Ordering::SeqCst);
        }));
    }

    /// One more over a connection that it shares with 99 others.
    async fn over_http_2(&mut self, doorward: &Doorward, token: &str) {
        if self.tasks.len().is_multiple_of(100) || self.connections.is_empty() {
            self.connections.push(Multiplex::connect(doorward).await);
        }
        let connection = self.connections.last().unwrap();
        let response = connection.send(listen(doorward, token, &json!(1))).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let (pulses, ended) = (Arc::new(AtomicU64::new(0)), Arc::clone(&self.ended));
        self.pulses.push(Arc::clone(&pulses));
        self.tasks.push(tokio::spawn(async move {
            while let Some(Ok(frame)) = body.frame().await {
                let data = frame.into_data().unwrap_or_default();
                pulses.fetch_add(count(&data), Ordering::SeqCst);
            }
            ended.fetch_add(1, Ordering::SeqCst);
        }));
    }

    fn close(self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn count(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'*')).sum()
}

/// Calls one after the other at this pace for this long; their latencies, sorted.
async fn calls(doorward: &Doorward, token: &str, span: Duration, pace: Duration) -> Vec<Duration> {
    let connection = Multiplex::connect(doorward).await;
    let (end, mut ticks) = (Instant::now() + span, tokio::time::interval(pace));
    let mut latencies = Vec::new();
    while Instant::now() < end {
        ticks.tick().await;
        let begun = Instant::now();
        let request = mcp::call(doorward, RA, "t_read", &json!({})).bearer(token);
        let response = connection.send(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.expect("a whole answer");
        latencies.push(begun.elapsed());
    }
    latencies.sort();
    latencies
}

fn p99(latencies: &[Duration]) -> Duration {
    latencies[latencies.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ft_16_thousands_of_idle_subscriptions_cost_little_and_stay_alive() {
    let (streams, span) = if full() { (10_000, 600) } else { (2_000, 60) };
    let span = Duration::from_secs(span);
    let catalogue = Catalogue::start().await;
    catalogue.up_a.script(quiet);
    let (doorward, token) = (&catalogue.doorward, catalogue.t().await);
    let pace = Duration::from_millis(if full() { 5 } else { 20 });
    let idle = p99(&calls(doorward, &token, Duration::from_secs(5), pace).await);
    let before = Usage::of(doorward.pid());

    // Half of them have connections of their own: the cheaper half for clients, the dearer one for us.
    let (mut http_1, mut http_2) = (Listeners::new(), Listeners::new());
    for _ in 0..streams / 2 {
        http_1.over_http_1(doorward, &token).await;
    }
    let between = Usage::of(doorward.pid());
    for _ in 0..streams / 2 {
        http_2.over_http_2(doorward, &token).await;
    }
    let open = Usage::of(doorward.pid());
    assert_eq!(catalogue.up_a.hanging(), streams);

    let token_of_calls = catalogue.t().await;
    let beside = p99(&calls(doorward, &token_of_calls, span, pace).await);
    let held = Usage::of(doorward.pid());
    let expected = span.as_secs() / BETWEEN_PULSES.as_secs() - 1;
    for listeners in [&http_1, &http_2] {
        assert_eq!(listeners.ended.load(Ordering::SeqCst), 0, "all alive");
        for pulses in &listeners.pulses {
            let pulses = pulses.load(Ordering::SeqCst);
            assert!(pulses >= expected, "{pulses} keep-alives of {expected}");
        }
    }
    assert_eq!(catalogue.up_a.hanging(), streams, "all alive behind us too");

    http_1.close();
    http_2.close();
    all_closed(&catalogue, before).await;
    // What was freed may stay with the process, in pieces, but it is there for the next ones: coming and going
    // settles.
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let mut again = Listeners::new();
        for _ in 0..streams / 4 {
            again.over_http_1(doorward, &token).await;
        }
        rounds.push(Usage::of(doorward.pid()).resident);
        again.close();
        all_closed(&catalogue, before).await;
    }

    let kib = |now: Usage, then: Usage, count: usize| {
        now.resident.saturating_sub(then.resident) / u64::try_from(count).unwrap()
    };
    let (one, two) = (kib(between, before, streams / 2), kib(open, between, streams / 2));
    println!(
        "{streams} streams: {one} KiB each over HTTP/1.1, {two} KiB over HTTP/2, {} KiB of all after {span:?}; resident {} then \
         {} KiB, with a quarter of them again and again {rounds:?}; p99 of calls {idle:?} alone, {beside:?} beside them",
        kib(held, before, streams),
        before.resident,
        held.resident,
    );
    // A build for tests takes somewhat more than the real one. Two connections of the HTTP library, with four buffers of
    // which one page each is in use, are nearly all of it.
    assert!(one < 64 && two < 40, "{one} and {two} KiB for a stream");
    assert!(
        held.resident < open.resident + (16 << 10),
        "time costs nothing: {open:?} {held:?}"
    );
    // If it did not, three rounds would be three quarters of them all.
    assert!(
        rounds[4] < rounds[1] + (24 << 10),
        "closing frees it: {held:?} {rounds:?}"
    );
    catalogue.still_good().await;
}

async fn all_closed(catalogue: &Catalogue, before: Usage) {
    let deadline = Duration::from_secs(60);
    eventually("every stream is closed behind us", deadline, || async {
        (catalogue.up_a.hanging() == 0).then_some(())
    })
    .await;
    eventually("every descriptor is given back", deadline, || async {
        (Usage::of(catalogue.doorward.pid()).descriptors <= before.descriptors + 16).then_some(())
    })
    .await;
}

/// The last event of a subscription that was ended on purpose.
fn completion(id: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": { "resultType": "complete",
        "_meta": { "io.modelcontextprotocol/subscriptionId": id } } })
}

#[tokio::test]
async fn mb_19_a_subscription_ends_in_good_order_when_its_user_is_disabled_and_others_go_on() {
    let catalogue = Catalogue::start().await;
    catalogue.up_a.script(quiet);
    let doorward = &catalogue.doorward;
    let alice = catalogue.t().await;
    let bob = catalogue
        .n1()
        .await
        .login("bob", doorward_testkit::PASSWORD, &catalogue.ra())
        .await
        .access;
    let (mine, other) = (json!("alice's \u{2028} \"1\""), json!(1));
    let mut of_alice = listen(doorward, &alice, &mine).stream().await;
    let mut of_bob = listen(doorward, &bob, &other).stream().await;
    for (stream, id) in [(&mut of_alice, &mine), (&mut of_bob, &other)] {
        let first: Value = serde_json::from_str(&stream.event().await.expect("an event").data).unwrap();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(
            first["params"]["notifications"],
            json!({ "toolsListChanged": true }),
            "as the server agreed"
        );
        assert_eq!(
            first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
            *id
        );
    }
    assert_eq!(catalogue.up_a.hanging(), 2);

    let begun = Instant::now();
    doorward.command(&["user", "disable", "alice"]).ok();
    let last = of_alice.event().await.expect("a completion");
    // Five seconds after the command on an idle machine.
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    assert_eq!(
        serde_json::from_str::<Value>(&last.data).unwrap(),
        completion(&mine)
    );
    let rest = of_alice.rest().await.expect("a proper end");
    assert!(rest.is_empty(), "and nothing after it: {rest:?}");
    eventually("the upstream sees the end", Duration::from_secs(60), || async {
        (catalogue.up_a.hanging() == 1).then_some(())
    })
    .await;
    assert_eq!(listen(doorward, &alice, &mine).send().await.status, 401);
    let again = tokio::time::timeout(BETWEEN_PULSES * 6, of_bob.try_chunk()).await;
    let again = again.expect("a keep-alive").expect("no break").expect("no end");
    assert_eq!(again, PULSE);
}

#[tokio::test]
async fn ft_06_a_subscription_ends_in_good_order_when_we_stop() {
    let catalogue = Catalogue::start().await;
    catalogue.up_a.script(quiet);
    let token = catalogue.t().await;
    let mut streams = Vec::new();
    for id in 0..20 {
        let mut stream = listen(&catalogue.doorward, &token, &json!(id)).stream().await;
        stream.event().await.expect("an acknowledgement");
        streams.push(stream);
    }
    let begun = Instant::now();
    catalogue.doorward.terminate();
    for (id, mut stream) in streams.into_iter().enumerate() {
        let last = stream.event().await.expect("a completion");
        assert_eq!(
            serde_json::from_str::<Value>(&last.data).unwrap(),
            completion(&json!(id))
        );
        assert!(stream.rest().await.expect("a proper end").is_empty());
    }
    assert_eq!(catalogue.doorward.wait(Duration::from_secs(60)).await, 0);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "streams that only listen are not waited for"
    );
}

#[tokio::test]
async fn a_hundred_streams_pass_every_event_at_once_and_by_itself() {
    const STREAMS: usize = 100;
    const EVENTS: usize = 5;
    let catalogue = Catalogue::start().await;
    let case = marker();
    let gates: Vec<Arc<Notify>> = (0..STREAMS).map(|_| Arc::default()).collect();
    let of_script = gates.clone();
    catalogue.up_a.script_for(&case, move |request| {
        let you = request.json()["params"]["arguments"]["you"].as_u64().unwrap();
        let gate = &of_script[usize::try_from(you).unwrap()];
        let progress = |step: usize| {
            json!({ "jsonrpc": "2.0", "method": "notifications/progress",
                "params": { "progressToken": you, "progress": step } })
        };
        let mut parts = Vec::new();
        for step in 0..EVENTS {
            parts.push(event(None, &progress(step)));
            parts.push(Part::Wait(Arc::clone(gate)));
        }
        let result = json!({ "jsonrpc": "2.0", "id": 1, "result": { "resultType": "complete", "content": [], "you": you } });
        parts.push(event(None, &result));
        Answer::events(parts)
    });
    let token = catalogue.t().await;
    let mut streams = Vec::new();
    for you in 0..STREAMS {
        let arguments = json!({ "marker": case, "you": you });
        let call = mcp::call(&catalogue.doorward, RA, "t_read", &arguments).bearer(&token);
        streams.push(call.stream().await);
    }
    for step in 0..EVENTS {
        for (you, stream) in streams.iter_mut().enumerate() {
            // The next event does not exist before this one was read.
            let chunk = tokio::time::timeout(Duration::from_secs(60), stream.try_chunk()).await;
            let chunk = chunk.expect("in time").expect("no break").expect("no end");
            let text = String::from_utf8(chunk.to_vec()).unwrap();
            let data = text
                .strip_prefix("data: ")
                .and_then(|rest| rest.strip_suffix("\n\n"));
            let message: Value = serde_json::from_str(data.expect("one event, whole")).unwrap();
            assert_eq!(
                message["params"],
                json!({ "progressToken": you, "progress": step })
            );
        }
        for gate in &gates {
            gate.notify_one();
        }
    }
    for (you, mut stream) in streams.into_iter().enumerate() {
        let last: Value = serde_json::from_str(&stream.event().await.expect("an answer").data).unwrap();
        assert_eq!(last["result"]["you"], you);
        assert!(stream.rest().await.expect("a proper end").is_empty());
    }
}

#[tokio::test]
async fn ds_08_a_slow_reader_slows_its_upstream_and_costs_no_memory() {
    const READERS: usize = 20;
    // What the allocator keeps for each thread beside that, in MiB: more on a machine with more cores.
    const OF_THREADS: u64 = 12;
    let catalogue = Catalogue::start().await;
    let (case, token) = (marker(), catalogue.t().await);
    let flood = format!("data: {}\n\n", "x".repeat(64 << 10)).into_bytes();
    catalogue.up_a.script_for(&case, move |_| {
        Answer::events(vec![Part::Repeat(flood.clone(), Duration::ZERO)])
    });
    let memory = doorward_testkit::measure::Memory::watch(catalogue.doorward.pid());
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let call = catalogue.call(&case);
        let bytes = on_the_wire(&catalogue.doorward, &token, &call, "tools/call", "t_read");
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut socket = socket.connect(catalogue.doorward.address).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        readers.push(socket);
    }
    // A kilobyte a second each, while the upstream could send as fast as memory is copied. First the buffers of the
    // system fill, as fast as the machine is; then three seconds count.
    let mut buffer = [0; 1024];
    let (mut halfway, mut filling, mut counting) = (0, 60, 3);
    while counting > 0 {
        for reader in &mut readers {
            assert!(reader.read(&mut buffer).await.unwrap() > 0);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let sent = catalogue.up_a.sent();
        if filling > 0 && (sent == 0 || sent > halfway + (1 << 20)) {
            (halfway, filling) = (sent, filling - 1);
        } else {
            (filling, counting) = (0, counting - 1);
        }
    }
    let (stalled, grown) = (catalogue.up_a.sent(), memory.growth());
    // What was sent stands in the buffers of sockets, which the system bounds; then nothing moves.
    assert!(
        stalled - halfway < 20 << 20,
        "the upstream still sends: {halfway} then {stalled} bytes"
    );
    println!(
        "{READERS} slow readers: {} KiB more in all, {stalled} bytes sent by the upstream",
        grown >> 10
    );
    assert!(
        grown < (u64::try_from(READERS).unwrap() + OF_THREADS) << 20,
        "{grown} bytes more: over 1 MiB for each"
    );
    drop(readers);
    eventually("the upstream is let go", Duration::from_secs(60), || async {
        (catalogue.up_a.hanging() == 0).then_some(())
    })
    .await;
    catalogue.still_good().await;
}

/// Clients that asked and now go away all at once.
struct Leaving {
    sockets: Vec<TcpStream>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    _shared: Option<Multiplex>,
}

impl Leaving {
    async fn ask(catalogue: &Catalogue, case: &str, over_http_2: bool, count: usize) -> Self {
        let token = catalogue.t().await;
        let mut leaving = Self {
            sockets: Vec::new(),
            tasks: Vec::new(),
            _shared: None,
        };
        if over_http_2 {
            let shared = Multiplex::connect(&catalogue.doorward).await;
            for _ in 0..count {
                let answer = shared.send(catalogue.call(case).bearer(&token));
                leaving.tasks.push(tokio::spawn(async move {
                    // Held until this task is ended, the body with it.
                    let _answer = answer.await;
                    std::future::pending::<()>().await;
                }));
            }
            leaving._shared = Some(shared);
            return leaving;
        }
        let call = catalogue.call(case);
        let bytes = on_the_wire(&catalogue.doorward, &token, &call, "tools/call", "t_read");
        for _ in 0..count {
            let mut socket = TcpStream::connect(catalogue.doorward.address).await.unwrap();
            socket.write_all(&bytes).await.unwrap();
            leaving.sockets.push(socket);
        }
        leaving
    }

    fn leave(self) -> Instant {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        drop(self);
        Instant::now()
    }
}

/// At once, in the middle of the way, and when the upstream has long been at work; whether it was about to answer
/// or in the middle of a stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ft_14_clients_that_go_away_leave_nothing_behind() {
    const AT_ONCE: usize = 20;
    let rounds = if full() { 1_000 } else { 60 } / AT_ONCE;
    let catalogue = Catalogue::start().await;
    let doorward = &catalogue.doorward;
    let (silent, streaming) = (marker(), marker());
    let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": {} });
    catalogue
        .up_a
        .script_for(&silent, |_| Answer::raw(vec![Part::Hang]));
    catalogue.up_a.script_for(&streaming, move |_| {
        Answer::events(vec![event(None, &progress), Part::Hang])
    });
    let busy = |count: usize| {
        let up = &catalogue.up_a;
        async move {
            eventually(
                "the upstream is asked, or sees every end",
                Duration::from_secs(60),
                || async { (up.hanging() == count).then_some(()) },
            )
            .await;
        }
    };
    let mut baseline = None;
    let mut ends = Vec::new();
    for (case, over_http_2) in [
        (&silent, false),
        (&streaming, false),
        (&silent, true),
        (&streaming, true),
    ] {
        for linger in [0, 10, 500] {
            for _ in 0..rounds {
                let clients = Leaving::ask(&catalogue, case, over_http_2, AT_ONCE).await;
                tokio::time::sleep(Duration::from_millis(linger)).await;
                if linger == 500 {
                    busy(AT_ONCE).await;
                }
                let left = clients.leave();
                busy(0).await;
                ends.push(left.elapsed());
            }
            // What any first use costs is there after the first of all.
            baseline.get_or_insert_with(|| Usage::of(doorward.pid()));
        }
    }
    ends.sort();
    let (median, most) = (ends[ends.len() / 2], ends[ends.len() - 1]);
    println!(
        "{} times {AT_ONCE} clients left: seen in {median:?} (median), {most:?} (most)",
        ends.len()
    );
    // A few milliseconds on an idle machine.
    assert!(
        median < Duration::from_secs(10),
        "half of all ends took more than {median:?}"
    );

    let before = baseline.expect("at least one round");
    eventually(
        "every descriptor is given back",
        Duration::from_secs(60),
        || async { (Usage::of(doorward.pid()).descriptors <= before.descriptors + 2).then_some(()) },
    )
    .await;
    let after = Usage::of(doorward.pid());
    // The runtime's threads for blocking work come and go with the load; one that stayed for each client would be
    // hundreds.
    assert!(after.threads <= before.threads + 24, "{before:?} then {after:?}");
    assert!(
        after.resident < before.resident + (32 << 10),
        "{before:?} then {after:?}"
    );
    // Calls that nobody waited for were made once, if at all.
    let asked = 4 * 3 * rounds * AT_ONCE;
    let made = catalogue.up_a.with(&silent).len() + catalogue.up_a.with(&streaming).len();
    assert!((asked / 3..=asked).contains(&made), "{made} of {asked}");
    catalogue.still_good().await;
}
