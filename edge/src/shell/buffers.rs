//! Spare buffers of one core: a connection takes one when it needs it and gives it back, so that a steady state
//! allocates nothing.

use flux_net::Window;

use crate::limits::shell::{
    READ_BUFFER_BYTES, SPARE_BUFFER_BYTES_MAX, SPARE_BUFFERS_MAX, SPARE_LARGE_BUFFERS_MAX, WIDE_READ_BUFFER_BYTES,
    WIDE_READ_BUFFERS_MAX, WRITE_BUFFER_BYTES,
};

/// What a connection reads into.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    /// The unread bytes.
    pub(crate) window: Window,
    is_wide: bool,
    /// Bytes that came since nothing was unread.
    brought: usize,
}

impl Inbound {
    fn is_as_taken(&self) -> bool {
        self.window.capacity() == if self.is_wide { WIDE_READ_BUFFER_BYTES } else { READ_BUFFER_BYTES }
    }

    /// So many bytes came.
    pub(crate) fn note_read(&mut self, bytes: usize) {
        self.brought += bytes;
    }
}

/// The spares; the one given back last is taken first, while it is still in the processor's cache.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    read: Vec<Window>,
    wide: Vec<Window>,
    wide_taken: usize,
    write: Vec<Vec<u8>>,
    /// Those that have grown; taken first, for a connection that has just written much will again.
    large: Vec<Vec<u8>>,
}

impl Buffers {
    /// An empty read buffer of the usual size.
    pub(crate) fn take_read(&mut self) -> Inbound {
        let window = self.read.pop().unwrap_or_else(|| Window::with_capacity(READ_BUFFER_BYTES));
        Inbound { window, is_wide: false, brought: 0 }
    }

    /// Takes a read buffer back; one that has grown is freed.
    pub(crate) fn give_read(&mut self, mut inbound: Inbound) {
        let (spares, kept) = if inbound.is_wide {
            (&mut self.wide, SPARE_LARGE_BUFFERS_MAX)
        } else {
            (&mut self.read, SPARE_BUFFERS_MAX)
        };
        if inbound.is_as_taken() && spares.len() < kept {
            inbound.window.consume(inbound.window.len());
            spares.push(inbound.window);
        }
        self.wide_taken -= usize::from(inbound.is_wide);
    }

    /// Where nothing is unread: a buffer that fits what came last. A client that sends more at once than the usual
    /// buffer holds is read into a wide one from the next time on, as long as there are any. One that has grown for a
    /// large request is not kept by an idle connection.
    pub(crate) fn fit_read(&mut self, inbound: &mut Inbound) {
        if !inbound.window.is_empty() {
            return;
        }
        let sends_much = std::mem::take(&mut inbound.brought) >= READ_BUFFER_BYTES;
        let is_wide = sends_much && (inbound.is_wide || self.wide_taken < WIDE_READ_BUFFERS_MAX);
        if inbound.is_wide == is_wide && inbound.is_as_taken() {
            return;
        }
        self.give_read(std::mem::take(inbound));
        *inbound = if is_wide { self.take_wide() } else { self.take_read() };
    }

    fn take_wide(&mut self) -> Inbound {
        self.wide_taken += 1;
        let window = self.wide.pop().unwrap_or_else(|| Window::with_capacity(WIDE_READ_BUFFER_BYTES));
        Inbound { window, is_wide: true, brought: 0 }
    }

    /// An empty write buffer.
    pub(crate) fn take_write(&mut self) -> Vec<u8> {
        self.large.pop().or_else(|| self.write.pop()).unwrap_or_else(|| Vec::with_capacity(WRITE_BUFFER_BYTES))
    }

    /// A crowd has left: no more spares of a kind are kept than there are connections.
    pub(crate) fn trim(&mut self, connections: usize) {
        for spares in [&mut self.read, &mut self.wide] {
            spares.truncate(connections);
            spares.shrink_to_fit();
        }
        for spares in [&mut self.write, &mut self.large] {
            spares.truncate(connections);
            spares.shrink_to_fit();
        }
    }

    /// Takes a write buffer back; one that has grown large is freed.
    pub(crate) fn give_write(&mut self, mut buffer: Vec<u8>) {
        let (spares, kept) = if buffer.capacity() <= WRITE_BUFFER_BYTES {
            (&mut self.write, SPARE_BUFFERS_MAX)
        } else {
            (&mut self.large, SPARE_LARGE_BUFFERS_MAX)
        };
        if buffer.capacity() <= SPARE_BUFFER_BYTES_MAX && spares.len() < kept {
            buffer.clear();
            spares.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity_after(buffers: &mut Buffers, inbound: &mut Inbound, bytes: usize) -> usize {
        inbound.note_read(bytes);
        buffers.fit_read(inbound);
        inbound.window.capacity()
    }

    #[test]
    fn the_spares_of_a_crowd_that_has_left_are_freed() {
        let mut buffers = Buffers::default();
        let taken: Vec<_> = (0..10).map(|_| (buffers.take_read(), buffers.take_write())).collect();
        for (inbound, out) in taken {
            buffers.give_read(inbound);
            buffers.give_write(out);
        }
        buffers.trim(3);
        assert_eq!((buffers.read.len(), buffers.write.len()), (3, 3));
        buffers.trim(7);
        assert_eq!((buffers.read.len(), buffers.write.len()), (3, 3));
    }

    #[test]
    fn who_sends_much_at_once_has_a_wide_buffer_until_it_sends_little() {
        let mut buffers = Buffers::default();
        let mut inbound = buffers.take_read();
        assert_eq!(capacity_after(&mut buffers, &mut inbound, READ_BUFFER_BYTES - 1), READ_BUFFER_BYTES);
        assert_eq!(capacity_after(&mut buffers, &mut inbound, READ_BUFFER_BYTES), WIDE_READ_BUFFER_BYTES);
        assert_eq!(capacity_after(&mut buffers, &mut inbound, 3 * READ_BUFFER_BYTES), WIDE_READ_BUFFER_BYTES);
        assert_eq!(capacity_after(&mut buffers, &mut inbound, 100), READ_BUFFER_BYTES);
        assert_eq!((buffers.wide_taken, buffers.wide.len()), (0, 1));
    }

    #[test]
    fn few_of_the_buffers_that_have_grown_are_kept() {
        let mut buffers = Buffers::default();
        let taken: Vec<Vec<u8>> = (0..4_000).map(|_| buffers.take_write()).collect();
        for mut buffer in taken {
            buffer.resize(SPARE_BUFFER_BYTES_MAX, 0);
            buffers.give_write(buffer);
        }
        (0..4_000).for_each(|_| buffers.give_write(Vec::with_capacity(WRITE_BUFFER_BYTES)));
        let kept = buffers.large.iter().chain(&buffers.write).map(Vec::capacity).sum::<usize>();
        assert!(kept <= SPARE_LARGE_BUFFERS_MAX * SPARE_BUFFER_BYTES_MAX + SPARE_BUFFERS_MAX * WRITE_BUFFER_BYTES);
        assert!(buffers.take_write().capacity() > WRITE_BUFFER_BYTES && buffers.take_write().is_empty());
    }

    #[test]
    fn wide_buffers_are_bounded_and_one_that_has_grown_is_freed() {
        let mut buffers = Buffers::default();
        let mut all: Vec<Inbound> = (0..=WIDE_READ_BUFFERS_MAX).map(|_| buffers.take_read()).collect();
        let wide = all.iter_mut().map(|one| capacity_after(&mut buffers, one, READ_BUFFER_BYTES));
        assert_eq!(wide.filter(|capacity| *capacity == WIDE_READ_BUFFER_BYTES).count(), WIDE_READ_BUFFERS_MAX);
        let mut grown = all.swap_remove(0);
        grown.window = Window::with_capacity(4 * WIDE_READ_BUFFER_BYTES);
        assert_eq!(capacity_after(&mut buffers, &mut grown, 5 * WIDE_READ_BUFFER_BYTES), WIDE_READ_BUFFER_BYTES);
        all.push(grown);
        all.into_iter().for_each(|inbound| buffers.give_read(inbound));
        assert_eq!((buffers.wide_taken, buffers.wide.len()), (0, SPARE_LARGE_BUFFERS_MAX));
    }
}
