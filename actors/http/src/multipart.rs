//! `multipart/form-data` with one file: what a browser's form sends.

use bytecave_messages::body::{BodyError, BodySender};
use bytes::{Bytes, BytesMut};
use multer::{Constraints, Field, Multipart, SizeLimit};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::disposition;
use crate::upload::{Incoming, Pieces};

/// Bytes of a multipart body besides the file: boundaries, part heads, fields that are no file.
pub(crate) const FRAMING_MAX_BYTES: u64 = 64 * 1024;

/// The part of a multipart body that is a blob.
pub(crate) struct FilePart {
    multipart: Multipart<'static>,
    field: Field<'static>,
    pub(crate) file_name: Option<String>,
    pub(crate) content_type: Option<String>,
    max_bytes: u64,
}

/// The boundary of a request's Content-Type.
pub(crate) fn boundary(content_type: &str) -> Result<String, BodyError> {
    multer::parse_boundary(content_type).map_err(|error| malformed(&error))
}

/// Connects a body with its parser. The parser is to be polled together with the first part of the
/// pair, which brings it bytes; neither holds more than a few pieces.
pub(crate) fn open(
    incoming: Incoming,
    boundary: &str,
    max_bytes: u64,
) -> (impl Future<Output = ()> + use<>, Multipart<'static>) {
    // actix-web's payload stays on its thread, and the parser wants a stream that could leave it.
    let (sender, receiver) = mpsc::channel::<Result<Bytes, BodyError>>(1);
    let limits = SizeLimit::new().whole_stream(max_bytes.saturating_add(FRAMING_MAX_BYTES));
    let multipart = Multipart::with_constraints(
        ReceiverStream::new(receiver),
        boundary,
        Constraints::new().size_limit(limits),
    );
    (pump(incoming, sender), multipart)
}

async fn pump(mut incoming: Incoming, sender: mpsc::Sender<Result<Bytes, BodyError>>) {
    loop {
        let next = match incoming.next().await {
            Ok(None) => return,
            Ok(Some(bytes)) => Ok(bytes),
            Err(error) => Err(error),
        };
        let failed = next.is_err();
        if sender.send(next).await.is_err() || failed {
            return;
        }
    }
}

impl FilePart {
    /// The one file, past fields that are none.
    pub(crate) async fn find(
        mut multipart: Multipart<'static>,
        max_bytes: u64,
    ) -> Result<Self, BodyError> {
        while let Some(field) = next_field(&mut multipart).await? {
            if field.file_name().is_none() {
                continue;
            }
            return Ok(Self {
                file_name: field.file_name().and_then(disposition::clean),
                content_type: field.content_type().map(ToString::to_string),
                multipart,
                field,
                max_bytes,
            });
        }
        Err(BodyError::Malformed {
            reason: "it has no file: expected one part with a filename".to_owned(),
        })
    }

    /// The file's bytes, all at once.
    pub(crate) async fn collect(mut self) -> Result<Bytes, BodyError> {
        let mut whole = BytesMut::new();
        while let Some(bytes) = self.field.chunk().await.map_err(|error| broken(&error))? {
            self.check(whole.len() + bytes.len())?;
            whole.extend_from_slice(&bytes);
        }
        self.finish().await?;
        Ok(whole.freeze())
    }

    /// The file's bytes into `sender`.
    pub(crate) async fn stream(mut self, sender: BodySender) {
        let mut pieces = Pieces::new(sender);
        let mut received = 0;
        loop {
            let chunk = match self.field.chunk().await {
                Ok(chunk) => chunk,
                Err(error) => return pieces.fail(broken(&error)),
            };
            let Some(bytes) = chunk else { break };
            received += bytes.len();
            if let Err(error) = self.check(received) {
                return pieces.fail(error);
            }
            if pieces.push(&bytes).await.is_gone() {
                return;
            }
        }
        match self.finish().await {
            Ok(()) => pieces.finish().await,
            Err(error) => pieces.fail(error),
        }
    }

    fn check(&self, received: usize) -> Result<(), BodyError> {
        let limit_bytes = self.max_bytes;
        if received as u64 > limit_bytes {
            return Err(BodyError::TooLarge { limit_bytes });
        }
        Ok(())
    }

    /// Nothing may follow but fields that are no file: of two files one would be lost.
    async fn finish(self) -> Result<(), BodyError> {
        let Self {
            mut multipart,
            field,
            ..
        } = self;
        drop(field);
        while let Some(field) = next_field(&mut multipart).await? {
            if field.file_name().is_some() {
                return Err(BodyError::Malformed {
                    reason: "it has more than one file: expected one for each request".to_owned(),
                });
            }
        }
        Ok(())
    }
}

async fn next_field(
    multipart: &mut Multipart<'static>,
) -> Result<Option<Field<'static>>, BodyError> {
    multipart.next_field().await.map_err(|error| broken(&error))
}

/// What the parser's error is: ours, when the body itself failed.
fn broken(error: &multer::Error) -> BodyError {
    match error {
        multer::Error::StreamReadFailed(cause) => match cause.downcast_ref::<BodyError>() {
            Some(cause) => cause.clone(),
            None => malformed(error),
        },
        multer::Error::StreamSizeExceeded { limit } => BodyError::TooLarge {
            limit_bytes: limit.saturating_sub(FRAMING_MAX_BYTES),
        },
        _ => malformed(error),
    }
}

fn malformed(error: &multer::Error) -> BodyError {
    BodyError::Malformed {
        reason: error.to_string(),
    }
}
