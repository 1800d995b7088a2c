//! The other end of a network program: a process of its own, on either arm, which serves one connection in one of a few
//! manners and then lives on until it is killed.

use std::future::pending;
use std::io;
use std::net::SocketAddr;

use kew_runtime::net::{Net, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How many bytes [`Peer::Echoes`] takes.
pub(crate) const ECHO_BYTES: usize = 5;

/// The manner of a peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Peer {
    /// Sends back the first bytes and closes.
    Echoes,
    /// Reads until the end, and sends all of it back then.
    AnswersAtTheEnd,
    /// Reads one byte and closes.
    Closes,
    /// Reads one byte, sends it back, and neither reads nor closes from then on.
    Holds,
}

const ALL: [Peer; 4] = [Peer::Echoes, Peer::AnswersAtTheEnd, Peer::Closes, Peer::Holds];

impl Peer {
    /// Its name for another process.
    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }

    /// The peer of a name.
    pub(crate) fn named(name: &str) -> Self {
        ALL.into_iter().find(|peer| peer.name() == name).expect("both ends are this program")
    }

    /// Listens on `address`, tells the port, and serves one connection.
    pub(crate) async fn serve(self, net: &dyn Net, address: SocketAddr, tell: impl FnOnce(u16)) -> io::Result<()> {
        let mut listener = net.bind(address).await?;
        tell(listener.local_addr()?.port());
        let (stream, _) = listener.accept().await?;
        // Its own end of the connection is nobody's claim.
        let _ = self.attend(stream).await;
        pending().await
    }

    async fn attend(self, mut stream: Stream) -> io::Result<()> {
        match self {
            Self::Echoes => {
                let mut bytes = [0; ECHO_BYTES];
                stream.read_exact(&mut bytes).await?;
                stream.write_all(&bytes).await
            }
            Self::AnswersAtTheEnd => {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).await?;
                stream.write_all(&bytes).await
            }
            Self::Closes => stream.read_u8().await.map(drop),
            Self::Holds => {
                let byte = stream.read_u8().await?;
                stream.write_u8(byte).await?;
                pending().await
            }
        }
    }
}

#[test]
fn every_peer_is_found_by_its_name() {
    ALL.into_iter().for_each(|peer| assert_eq!(Peer::named(&peer.name()), peer));
}
