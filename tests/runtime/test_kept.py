"""Room for gradients: no path waits for ever, and no more is taken than there is."""

from hypothesis import given, settings
from hypothesis import strategies as st

from igrt.runtime.kept import Room


# a loaded machine takes longer than hypothesis allows
@settings(deadline=None)
@given(
    st.integers(1, 20),
    st.integers(0, 40),
    st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=8),
)
def test_every_path_ends_within_the_room(most, spare, wants):
    """Paths ask in turn for what they want, and end when they have it all."""
    wants = [w for w in wants if sum(w) <= most] or [[1]]
    total = most + spare
    room, taken = Room(total, most), {}
    waiting = dict(enumerate(map(list, wants)))
    while waiting:
        moved = False
        for slot, left in list(waiting.items()):
            if left and room.take(slot, left[0]):
                taken[slot] = taken.get(slot, 0) + left.pop(0)
                moved = True
            if not left:
                room.give_back(slot)
                del waiting[slot], taken[slot]
                moved = True
            assert sum(taken.values()) <= room.held <= total
        assert moved
