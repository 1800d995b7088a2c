//! Network programs. Each states its legal outcomes; the simulator may have no other, and must have the machine's.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};

use futures_util::FutureExt;
use kew_runtime::net::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::unconstrained;

use super::network_arms::{Return, Way, real, simulated};
use super::peer::{ECHO_BYTES, Peer};

/// What a program saw.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Outcome {
    read: String,
    end: End,
}

/// How a connection ended for the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// It was never made.
    Refused,
    /// It was made, and nothing more was asked of it.
    Connected,
    /// A read found the end.
    Eof,
    /// A read or a write failed: the other side has reset it.
    Reset,
    /// A write failed: the other side had closed before.
    BrokenPipe,
    /// A write failed in one of these two ways.
    Unwritable,
    /// The program waits for ever.
    Never,
}

impl Outcome {
    /// An outcome in which nothing was read.
    pub(crate) fn ends(end: End) -> Self {
        Self { read: String::new(), end }
    }

    /// The outcome of writes, whichever kind of error told of the end.
    fn of_either_kind(self) -> Self {
        assert!([End::BrokenPipe, End::Reset].contains(&self.end), "{self:?}");
        Self { end: End::Unwritable, ..self }
    }
}

/// Plays a program on both arms and holds the outcomes against the legal ones.
fn compare<F: Future<Output = Outcome> + 'static>(peer: Peer, program: fn(Way) -> F, legal: &[Outcome]) {
    let legal: BTreeSet<_> = legal.iter().cloned().collect();
    let (real, simulated) = (real(peer, program), simulated(peer, program));
    assert!(simulated.is_subset(&legal), "the simulator makes up {simulated:?}");
    assert!(simulated.contains(&real), "the machine says {real:?}, the simulator only {simulated:?}");
}

fn read(read: &str, end: End) -> Outcome {
    Outcome { read: read.to_owned(), end }
}

/// Reads until the connection ends in one way or the other.
async fn read_out(stream: &mut Stream) -> Outcome {
    let mut bytes = Vec::new();
    let end = match stream.read_to_end(&mut bytes).await {
        Ok(_) => End::Eof,
        Err(error) => of_read(&error),
    };
    Outcome { read: String::from_utf8(bytes).unwrap(), end }
}

fn of_read(error: &Error) -> End {
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    End::Reset
}

fn of_write(error: &Error) -> End {
    match error.kind() {
        ErrorKind::BrokenPipe => End::BrokenPipe,
        ErrorKind::ConnectionReset => End::Reset,
        _ => panic!("{error}"),
    }
}

fn of_connect(connected: std::io::Result<Stream>) -> Outcome {
    Outcome::ends(connected.map_or_else(
        |error| {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
            End::Refused
        },
        |_| End::Connected,
    ))
}

/// A connection to a peer that has read the first byte and holds it.
async fn held(way: &Way) -> Stream {
    let mut stream = way.connect().await.unwrap();
    stream.write_u8(b'h').await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'h');
    stream
}

#[test]
fn a_peer_that_closes_after_its_answer_is_read_to_the_end() {
    async fn program(way: Way) -> Outcome {
        let mut stream = way.connect().await.unwrap();
        stream.write_all(&b"hello"[..ECHO_BYTES]).await.unwrap();
        read_out(&mut stream).await
    }
    compare(Peer::Echoes, program, &[read("hello", End::Eof)]);
}

#[test]
fn connecting_where_nobody_listens_is_refused() {
    async fn program(way: Way) -> Outcome {
        of_connect(way.connect_to_nobody().await)
    }
    compare(Peer::Holds, program, &[Outcome::ends(End::Refused)]);
}

#[test]
fn connecting_to_a_process_that_was_killed_is_refused_or_meets_the_next_one() {
    async fn program(way: Way) -> Outcome {
        let _held = held(&way).await;
        way.kill_peer(Return::Soon).await;
        of_connect(way.connect().await)
    }
    compare(Peer::Holds, program, &[Outcome::ends(End::Refused), Outcome::ends(End::Connected)]);
}

#[test]
fn a_killed_peer_that_has_read_everything_ends_the_connection() {
    async fn program(way: Way) -> Outcome {
        let mut stream = held(&way).await;
        way.kill_peer(Return::Soon).await;
        read_out(&mut stream).await
    }
    compare(Peer::Holds, program, &[Outcome::ends(End::Eof), Outcome::ends(End::Reset)]);
}

#[test]
fn a_killed_peer_with_unread_bytes_ends_or_resets_the_connection() {
    async fn program(way: Way) -> Outcome {
        let mut stream = held(&way).await;
        stream.write_all(b"never read").await.unwrap();
        way.let_arrive().await;
        way.kill_peer(Return::Soon).await;
        read_out(&mut stream).await
    }
    compare(Peer::Holds, program, &[Outcome::ends(End::Eof), Outcome::ends(End::Reset)]);
}

/// Writes until it is told that nobody takes it.
async fn write_out(way: &Way, stream: &mut Stream) -> Outcome {
    loop {
        if let Err(error) = stream.write_all(b"does anybody hear?").await {
            return Outcome::ends(of_write(&error));
        }
        way.let_arrive().await;
    }
}

#[test]
fn writes_to_a_peer_that_has_closed_fail_sooner_or_later() {
    async fn program(way: Way) -> Outcome {
        let mut stream = way.connect().await.unwrap();
        write_out(&way, &mut stream).await.of_either_kind()
    }
    compare(Peer::Closes, program, &[Outcome::ends(End::Unwritable)]);
}

#[test]
fn writes_to_a_peer_that_was_killed_fail_sooner_or_later() {
    async fn program(way: Way) -> Outcome {
        let mut stream = held(&way).await;
        way.kill_peer(Return::Soon).await;
        write_out(&way, &mut stream).await.of_either_kind()
    }
    compare(Peer::Holds, program, &[Outcome::ends(End::Unwritable)]);
}

#[test]
fn a_half_closed_connection_still_delivers_what_was_written_before() {
    async fn program(way: Way) -> Outcome {
        let mut stream = way.connect().await.unwrap();
        stream.write_all(b"last words").await.unwrap();
        stream.shutdown().await.unwrap();
        read_out(&mut stream).await
    }
    compare(Peer::AnswersAtTheEnd, program, &[read("last words", End::Eof)]);
}

/// What many small writes add up to.
fn parts() -> impl Iterator<Item = String> {
    (0..2000).map(|n| format!("{n};"))
}

#[test]
fn many_small_writes_arrive_in_order_and_whole() {
    async fn program(way: Way) -> Outcome {
        let mut stream = way.connect().await.unwrap();
        for part in parts() {
            stream.write_all(part.as_bytes()).await.unwrap();
        }
        stream.shutdown().await.unwrap();
        read_out(&mut stream).await
    }
    compare(Peer::AnswersAtTheEnd, program, &[read(&parts().collect::<String>(), End::Eof)]);
}

/// A known difference: what the machine does and what the simulator does instead. It is pinned, so that its end is noticed.
fn differ<F: Future<Output = Outcome> + 'static>(peer: Peer, program: fn(Way) -> F, ends: (End, End)) {
    assert_eq!(real(peer, program), Outcome::ends(ends.0));
    assert_eq!(simulated(peer, program), BTreeSet::from([Outcome::ends(ends.1)]));
}

/// The peer closes with bytes unread, and so resets the connection. Nothing in the runtime tells the two kinds apart.
#[test]
fn a_write_after_a_reset_fails_with_another_kind_of_error_in_the_simulator() {
    async fn program(way: Way) -> Outcome {
        let mut stream = way.connect().await.unwrap();
        write_out(&way, &mut stream).await
    }
    differ(Peer::Closes, program, (End::Reset, End::BrokenPipe));
}

/// turmoil wakes a reader when the connection is reset, and not a writer that waits for room. The connections of a run
/// have room for 65,536 segments that nobody has read.
#[test]
fn a_writer_that_waits_for_room_is_not_told_of_its_peers_death_in_the_simulator() {
    async fn program(way: Way) -> Outcome {
        let mut stream = held(&way).await;
        while let Some(written) = unconstrained(stream.write(&[0; 1024])).now_or_never() {
            written.unwrap();
        }
        way.kill_peer(Return::Soon).await;
        write_out(&way, &mut stream).await
    }
    differ(Peer::Holds, program, (End::Reset, End::Never));
}

/// A killed process takes its host's network with it, so that nobody answers in its place until it is back. Callers bring
/// a timeout (`kew_runtime::net::Client`).
#[test]
fn connecting_to_a_killed_process_hears_nothing_in_the_simulator_until_it_is_back() {
    async fn program(way: Way) -> Outcome {
        let _held = held(&way).await;
        way.kill_peer(Return::Never).await;
        of_connect(way.connect().await)
    }
    differ(Peer::Holds, program, (End::Refused, End::Never));
}

#[test]
fn writes_to_a_killed_process_go_on_in_the_simulator_until_it_is_back() {
    async fn program(way: Way) -> Outcome {
        let mut stream = held(&way).await;
        way.kill_peer(Return::Never).await;
        write_out(&way, &mut stream).await
    }
    differ(Peer::Holds, program, (End::BrokenPipe, End::Never));
}
