//! Spare buffers of one core: a connection takes one when it needs it and gives it back, so that a steady state
//! allocates nothing.

use flux_net::Window;

use crate::shell_limits::{READ_BUFFER_BYTES, SPARE_BUFFER_BYTES_MAX, SPARE_BUFFERS_MAX, WRITE_BUFFER_BYTES};

/// The spares; the one given back last is taken first, while it is still in the processor's cache.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    read: Vec<Window>,
    write: Vec<Vec<u8>>,
}

impl Buffers {
    /// An empty read buffer of the usual size.
    pub(crate) fn take_read(&mut self) -> Window {
        self.read.pop().unwrap_or_else(|| Window::with_capacity(READ_BUFFER_BYTES))
    }

    /// Takes a read buffer back; one that has grown is freed.
    pub(crate) fn give_read(&mut self, mut window: Window) {
        if window.capacity() == READ_BUFFER_BYTES && self.read.len() < SPARE_BUFFERS_MAX {
            window.consume(window.len());
            self.read.push(window);
        }
    }

    /// An empty write buffer.
    pub(crate) fn take_write(&mut self) -> Vec<u8> {
        self.write.pop().unwrap_or_else(|| Vec::with_capacity(WRITE_BUFFER_BYTES))
    }

    /// Takes a write buffer back; one that has grown large is freed.
    pub(crate) fn give_write(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= SPARE_BUFFER_BYTES_MAX && self.write.len() < SPARE_BUFFERS_MAX {
            buffer.clear();
            self.write.push(buffer);
        }
    }
}
