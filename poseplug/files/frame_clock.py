"""Numbers and times of decoded video frames, from the time stamps of the packets that they were in."""

from __future__ import annotations

__all__ = ['FrameClock']

import heapq
import math

_MAX_STEP_BACK_S = 1.0  # a longer one is another recording that was appended, and time goes on behind the last frame


class FrameClock:
    """Counts the decoded frames of a stream, and finds the time of each.

    A packet that is lost or damaged takes a number, too, so that a frame has the number that it has in the whole file.

    Args:
        seconds_per_tick: unit of the time stamps.
        step_s: seconds between two frames where there are no time stamps.
        hides_untimed: whether no player shows the frames without a time stamp before the first one with it.

    Attributes:
        num_frames: number of frames so far, with the lost ones.
        missing_frames: numbers of the lost frames.
        num_retimed: number of frames whose time stamp was not later than that of the frame before.
        last_seconds: time of the last frame.
    """

    def __init__(self, seconds_per_tick: float, step_s: float, hides_untimed: bool = False):
        self.seconds_per_tick, self.step_s, self.hides_untimed = seconds_per_tick, step_s, hides_untimed
        self.num_frames, self.num_retimed = 0, 0
        self.last_seconds, self.shift_s = -math.inf, 0.0
        self.missing_frames: list[int] = []
        # Stamps of packets whose frame did not come out yet, with a 1 for lost ones. A decoder returns frames in the
        # order of presentation: the earliest stamp is that of the next frame, in whichever order packets are stored.
        self._stamps: list[tuple[float, int]] = []

    def add_packet(self, stamp: int | None, is_lost: bool = False) -> None:
        """Remember a packet, before the frames are counted that the decoder returns for it.

        Args:
            stamp: time stamp in ticks; None for a packet without one.
            is_lost: whether the packet is missing in the file, or the decoder refused it.
        """
        heapq.heappush(self._stamps, (-math.inf if stamp is None else stamp, int(is_lost)))

    def count_frame(self, stamp: int | None) -> tuple[int, float] | None:
        """Count the next frame that the decoder returned.

        Args:
            stamp: of the frame, in ticks; None takes the earliest one of the packets.

        Returns:
            The frame's number and seconds; None if no player shows the frame.
        """
        ticks = self._pop_earliest_stamp() if stamp is None else self._pop_stamps_until(stamp)
        if math.isfinite(ticks):
            seconds = self._advance_time(ticks * self.seconds_per_tick)
        elif math.isfinite(self.last_seconds):
            seconds = self.last_seconds + self.step_s
        elif self.hides_untimed:
            return None
        else:
            seconds = 0.0
        self.last_seconds = seconds
        self.num_frames += 1
        return self.num_frames - 1, seconds

    def count_lost_frames(self, count: int = 1) -> None:
        """Count frames of which nothing can be read."""
        self.missing_frames += range(self.num_frames, self.num_frames + count)
        self.num_frames += count

    def count_remaining_packets(self) -> None:
        """Count the lost packets behind the last frame, when the decoder has returned all frames."""
        self.count_lost_frames(sum(is_lost for _, is_lost in self._stamps))
        self._stamps.clear()

    def _pop_earliest_stamp(self) -> float:
        """Pop the stamp of the next packet that is not lost, and count the lost ones before it."""
        while self._stamps:
            stamp, is_lost = heapq.heappop(self._stamps)
            if not is_lost:
                return stamp
            self.count_lost_frames()
        return -math.inf

    def _pop_stamps_until(self, stamp: int) -> float:
        """Pop the stamps up to a frame's own, and count the lost packets before it."""
        while self._stamps and self._stamps[0][0] <= stamp:
            earlier, is_lost = heapq.heappop(self._stamps)
            if is_lost and earlier < stamp:  # a refused packet whose frame came out all the same is not lost
                self.count_lost_frames()
        return stamp

    def _advance_time(self, seconds: float) -> float:
        """The time of a frame by its stamp, as long as time does not go back."""
        seconds += self.shift_s
        if seconds > self.last_seconds:
            return seconds
        self.num_retimed += 1
        if self.last_seconds - seconds < _MAX_STEP_BACK_S:
            return self.last_seconds + self.step_s / 2  # a whole step would put the next good stamp behind, too
        self.shift_s += self.last_seconds + self.step_s - seconds
        return self.last_seconds + self.step_s
