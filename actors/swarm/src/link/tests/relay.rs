//! The relay's end of a link.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

use super::HANG;

pub(super) struct Relay {
    listener: TcpListener,
    node: Option<WebSocketStream<TcpStream>>,
    /// A connection that is open and neither read nor written.
    silent: Option<WebSocketStream<TcpStream>>,
}

impl Relay {
    pub(super) async fn listen() -> Self {
        Self::listen_at(([127, 0, 0, 1], 0).into()).await
    }

    pub(super) async fn listen_at(address: SocketAddr) -> Self {
        Self {
            listener: TcpListener::bind(address).await.unwrap(),
            node: None,
            silent: None,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(super) fn url(&self) -> String {
        format!("ws://{}", self.address())
    }

    /// Takes every connection and speaks no protocol at all.
    pub(super) fn keep_accepting(self) -> SocketAddr {
        let address = self.address();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = self.listener.accept().await {
                let _ = stream.write_all(b"220 not what you expect\r\n").await;
            }
        });
        address
    }

    /// Waits for the node and hears who it is.
    pub(super) async fn hear_register(&mut self, peer_id: &str) {
        let (stream, _) = timeout(HANG, self.listener.accept())
            .await
            .unwrap()
            .unwrap();
        let limits = WebSocketConfig::default()
            .max_message_size(Some(64 << 20))
            .max_frame_size(Some(64 << 20));
        self.node = Some(
            accept_async_with_config(stream, Some(limits))
                .await
                .unwrap(),
        );
        assert_eq!(
            self.hear().await,
            json!({"type": "register", "peerId": peer_id, "nodeId": "node-under-test",
                "isRegistered": false})
        );
    }

    /// The same, and confirms it.
    pub(super) async fn register(&mut self, peer_id: &str) {
        self.hear_register(peer_id).await;
        self.say(&json!({"type": "registered", "peerId": peer_id}))
            .await;
    }

    pub(super) async fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string()).await;
    }

    pub(super) async fn say_text(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    pub(super) async fn say_binary(&mut self, bytes: &'static [u8]) {
        self.send(Message::binary(bytes)).await;
    }

    async fn send(&mut self, message: Message) {
        let sent = self.socket().send(message);
        timeout(HANG, sent).await.expect("the node reads").unwrap();
    }

    /// The beginning of a frame that says it has so many bytes.
    pub(super) async fn announce_frame(&mut self, len: u64) {
        let mut head = vec![0x81, 127];
        head.extend(len.to_be_bytes());
        self.socket().get_mut().write_all(&head).await.unwrap();
    }

    /// The next message.
    pub(super) async fn hear(&mut self) -> Value {
        loop {
            match self.next().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other}"),
            }
        }
    }

    /// Asks, and hears the answer.
    pub(super) async fn hear_answer_to(&mut self, request: &Value) -> Value {
        self.say(request).await;
        self.hear().await
    }

    pub(super) async fn hear_ping(&mut self) {
        while !matches!(self.next().await, Message::Ping(_)) {}
    }

    pub(super) async fn hear_close(&mut self) {
        while !matches!(self.next().await, Message::Close(_)) {}
    }

    /// Keeps the connection, and does nothing with it.
    pub(super) fn fall_silent(&mut self) {
        self.silent = self.node.take();
    }

    async fn next(&mut self) -> Message {
        let next = timeout(HANG, self.socket().next()).await;
        next.expect("the node says nothing")
            .expect("the node hung up")
            .unwrap()
    }

    fn socket(&mut self) -> &mut WebSocketStream<TcpStream> {
        self.node.as_mut().expect("no node is connected")
    }
}
