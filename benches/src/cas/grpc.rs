//! The least of gRPC and protobuf that etcd's clients need: calls and one stream over HTTP/2.

use bytes::Bytes;
use h2::{RecvStream, client::SendRequest};
use http::Request;
use tokio::net::TcpStream;

/// What a field holds, of the two kinds that are used.
#[derive(Clone, Copy)]
pub enum Field<'a> {
    /// A number.
    Number(u64),
    /// Bytes, or a message.
    Bytes(&'a [u8]),
}

/// Appends fields to a message.
pub fn message(fields: &[(u64, Field<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, field) in fields {
        match field {
            Field::Number(value) => {
                varint(&mut out, number << 3);
                varint(&mut out, *value);
            }
            Field::Bytes(bytes) => {
                varint(&mut out, number << 3 | 2);
                varint(&mut out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
        }
    }
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The fields of a message.
pub fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = number(&mut bytes);
        match key & 7 {
            0 => found.push((key >> 3, Field::Number(number(&mut bytes)))),
            2 => {
                let len = number(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(len);
                found.push((key >> 3, Field::Bytes(value)));
                bytes = rest;
            }
            other => panic!("etcd answers with a field of kind {other}"),
        }
    }
    found
}

fn number(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

/// The number in a field; 0 if it is not there.
pub fn number_in(bytes: &[u8], wanted: u64) -> u64 {
    let found = fields(bytes).into_iter().find_map(|(number, field)| match field {
        Field::Number(value) if number == wanted => Some(value),
        _ => None,
    });
    found.unwrap_or(0)
}

/// The bytes in a field; none if it is not there.
pub fn bytes_in(bytes: &[u8], wanted: u64) -> &[u8] {
    let found = fields(bytes).into_iter().find_map(|(number, field)| match field {
        Field::Bytes(value) if number == wanted => Some(value),
        _ => None,
    });
    found.unwrap_or(&[])
}

/// A connection to a server on this machine; its work is a task of the running `LocalSet`.
#[derive(Clone)]
pub struct Connection {
    send: SendRequest<Bytes>,
}

impl Connection {
    pub async fn open(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (send, connection) =
            h2::client::handshake(stream).await.map_err(std::io::Error::other)?;
        tokio::task::spawn_local(async move {
            // Whoever uses it sees that it has ended.
            let _ = connection.await;
        });
        Ok(Self { send })
    }

    /// One message there, one back.
    pub async fn call(&self, method: &str, message: &[u8]) -> Vec<u8> {
        let mut answers = self.begin(method, message, true).await;
        answers.next().await.expect("an answer")
    }

    /// One message there, any number back; the stream stays open.
    pub async fn follow(&self, method: &str, message: &[u8]) -> Answers {
        self.begin(method, message, false).await
    }

    async fn begin(&self, method: &str, message: &[u8], only: bool) -> Answers {
        let request = Request::post(format!("http://127.0.0.1/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let mut send = self.send.clone().ready().await.expect("etcd takes requests");
        let (answer, mut body) = send.send_request(request, false).expect("sent");
        let mut framed = vec![0];
        framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
        framed.extend_from_slice(message);
        body.send_data(framed.into(), only).expect("sent");
        let answer = answer.await.expect("etcd answers");
        assert_eq!(answer.status(), 200);
        Answers { body: answer.into_body(), rest: Vec::new(), _open: body }
    }
}

/// Messages from the server.
pub struct Answers {
    body: RecvStream,
    rest: Vec<u8>,
    _open: h2::SendStream<Bytes>,
}

impl Answers {
    /// The next one; `None` at the end.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(head) = self.rest.first_chunk::<5>() {
                let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if self.rest.len() >= 5 + len {
                    let message = self.rest[5..5 + len].to_vec();
                    self.rest.drain(..5 + len);
                    return Some(message);
                }
            }
            let data = self.body.data().await?.expect("received");
            self.body.flow_control().release_capacity(data.len()).expect("released");
            self.rest.extend_from_slice(&data);
        }
    }
}
