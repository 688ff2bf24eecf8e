//! Carries an HTTP/2 stream to one of tonic's generated services and back: for the streaming ones, and for those that
//! are too rare to deserve a road of their own.

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower::Service;

/// A request's body as tonic wants it.
pub struct Incoming(RecvStream);

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(chunk) = ready!(self.0.poll_data(cx)) {
            let chunk = chunk?;
            // An error here means that the stream is gone, which the next read will say.
            let _ = self.0.flow_control().release_capacity(chunk.len());
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let trailers = ready!(self.0.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|t| Ok(Frame::trailers(t))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// Serves one stream to its end.
pub async fn carry<S>(mut service: S, request: Request<RecvStream>, mut respond: SendResponse<Bytes>)
where
    S: Service<Request<Incoming>, Response = Response<tonic::body::Body>, Error = Infallible>,
{
    let Ok(response) = service.call(request.map(Incoming)).await;
    let (parts, body) = response.into_parts();
    let ended = body.is_end_stream();
    // Whatever fails from here on means that the caller is gone.
    let Ok(out) = respond.send_response(Response::from_parts(parts, ()), ended) else { return };
    if !ended {
        let _ = pump(body, out).await;
    }
}

/// Sends a body frame by frame, each only when the caller has room for more.
async fn pump(mut body: tonic::body::Body, mut out: SendStream<Bytes>) -> Result<(), h2::Error> {
    loop {
        let frame = poll_fn(|cx| {
            if out.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            Pin::new(&mut body).poll_frame(cx)
        })
        .await;
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(status)) => {
                let mut trailers = HeaderMap::new();
                let _ = status.add_header(&mut trailers);
                return out.send_trailers(trailers);
            }
            None => return out.send_data(Bytes::new(), true),
        };
        match frame.into_data() {
            Ok(data) => {
                out.reserve_capacity(data.len().max(1));
                if poll_fn(|cx| out.poll_capacity(cx)).await.is_none() {
                    return Ok(());
                }
                out.send_data(data, false)?;
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return out.send_trailers(trailers);
                }
            }
        }
    }
}
