//! The TCP connection: requests and answers follow one another on it.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{
    Asker, BUFFER_BYTES, NetworkError, REQUEST_BYTES, asked, content, next_piece, request,
};

/// The end that asks, with the buffer into which it reads.
pub(super) struct Line {
    connection: TcpStream,
    buffer: Vec<u8>,
}

/// Connects to a task that answers.
pub(super) async fn connect() -> Result<Line, NetworkError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let (connection, _) = listener.accept().await?;
        answer(connection).await
    });
    let connection = TcpStream::connect(address).await?;
    connection.set_nodelay(true)?;
    Ok(Line {
        connection,
        buffer: vec![0; BUFFER_BYTES],
    })
}

impl Asker for Line {
    async fn ask(&mut self, size: u64) -> Result<(), NetworkError> {
        self.connection.write_all(&request(size)).await?;
        let mut left = size;
        while left > 0 {
            let room = usize::try_from(left).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
            let room = self.buffer.get_mut(..room).unwrap_or_default();
            let read = self.connection.read(room).await?;
            if read == 0 {
                return Err(NetworkError::Length {
                    actual: size - left,
                    expected: size,
                });
            }
            left -= read as u64;
        }
        Ok(())
    }
}

/// Answers until the other end closes, which the asker sees as a line that ended when it is an error.
async fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let content = content();
    let mut request = [0; REQUEST_BYTES];
    loop {
        connection.read_exact(&mut request).await?;
        let mut left = asked(&request);
        while left > 0 {
            let piece = next_piece(&content, left);
            connection.write_all(piece).await?;
            left -= piece.len() as u64;
        }
    }
}
