//! The windows of all groups: found by their key, bounded a tenant and in total. The first to go is the one that has not been used for the
//! longest. Which that is depends on nothing but when each was used last, so that windows which were read back go in the same order.
//!
//! A use writes its number into the group's own slot and nothing else. A tenant's groups stand in a heap by the uses that they had when
//! they were looked at last; one that was used since goes back into it when its turn comes.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use foldhash::fast::RandomState;

use crate::window::Window;

/// What a group is found by: 128 bits of the SHA-256 over tenant, correlation and the group's values, without case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey(pub [u8; 16]);

impl GroupKey {
    fn bits(self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|at| self.0[at]))
    }
}

/// No slot, or no correlation.
const NONE: u32 = u32::MAX;
/// Slots are made so many at a time, so that none is ever moved.
const CHUNK: usize = 4096;
/// What a group takes beside its window's own bytes: its slot, and its places in the table and the heap.
const OVERHEAD: usize = size_of::<Slot>() + 8 + size_of::<Turn>();

#[derive(Debug)]
struct Slot {
    key: GroupKey,
    window: Window,
    /// [`NONE`] while the slot is free.
    correlation: u32,
    tenant: u32,
    used: u64,
    seen: u32,
}

/// When a group's turn to go is, and its slot.
type Turn = Reverse<(u64, u32)>;

#[derive(Debug)]
struct Tenant {
    name: Box<str>,
    turns: BinaryHeap<Turn>,
    bytes: usize,
}

/// A use of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Use {
    /// Its number: later ones have higher ones.
    pub(crate) number: u64,
    /// When it was, by whatever clock tells how long groups are kept, in minutes.
    pub(crate) minute: u32,
}

/// A group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'s> {
    pub(crate) tenant: &'s str,
    pub(crate) key: GroupKey,
    pub(crate) window: &'s Window,
    /// When it was used last.
    pub(crate) used: Use,
}

/// A group that was dropped.
#[derive(Debug)]
pub(crate) struct Dropped {
    pub(crate) tenant: Box<str>,
    pub(crate) correlation: usize,
    pub(crate) key: GroupKey,
    pub(crate) window: Window,
}

/// The windows.
#[derive(Debug)]
pub(crate) struct Store {
    chunks: Vec<Vec<Slot>>,
    free: Vec<u32>,
    table: Vec<u32>,
    count: usize,
    bytes: usize,
    tenants: Vec<Tenant>,
    by_name: HashMap<Box<str>, u32, RandomState>,
    free_tenants: Vec<u32>,
}

/// A group's place, as long as it is not dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            table: vec![NONE; 1024],
            count: 0,
            bytes: 0,
            tenants: Vec::new(),
            by_name: HashMap::default(),
            free_tenants: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn slot(&self, at: u32) -> &Slot {
        &self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    fn slot_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    pub(crate) fn window(&mut self, Place(at): Place) -> &mut Window {
        &mut self.slot_mut(at).window
    }

    /// The group of this key, with an empty window if there was none.
    pub(crate) fn get_or_add(&mut self, tenant: &str, correlation: usize, key: GroupKey, used: Use) -> Place {
        if let Some(at) = self.find(key) {
            let slot = self.slot_mut(at);
            (slot.used, slot.seen) = (used.number, used.minute);
            return Place(at);
        }
        let tenant = self.tenant(tenant);
        let correlation = u32::try_from(correlation).unwrap_or(NONE);
        let Use { number, minute } = used;
        let slot = Slot { key, window: Window::default(), correlation, tenant, used: number, seen: minute };
        let at = match self.free.pop() {
            Some(at) => {
                *self.slot_mut(at) = slot;
                at
            }
            None => self.add_slot(slot),
        };
        self.count += 1;
        if self.count * 4 > self.table.len() * 3 {
            self.grow();
        }
        self.put(at);
        self.tenants[tenant as usize].turns.push(Reverse((number, at)));
        self.account(at, OVERHEAD, 0);
        Place(at)
    }

    fn add_slot(&mut self, slot: Slot) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().map_or(0, |chunk| {
            chunk.push(slot);
            chunk.len() - 1
        });
        u32::try_from(full + chunk).unwrap_or(NONE)
    }

    /// Says that the group's window has become larger or smaller.
    pub(crate) fn resized(&mut self, Place(at): Place, before: usize, after: usize) {
        self.account(at, after, before);
    }

    fn account(&mut self, at: u32, more: usize, less: usize) {
        let tenant = self.slot(at).tenant as usize;
        self.bytes = self.bytes + more - less;
        self.tenants[tenant].bytes = self.tenants[tenant].bytes + more - less;
    }

    /// What the tenant of this group has.
    pub(crate) fn bytes_of_tenant(&self, Place(at): Place) -> usize {
        self.tenants[self.slot(at).tenant as usize].bytes
    }

    /// Drops the group of the same tenant that was used longest ago.
    pub(crate) fn drop_oldest_beside(&mut self, Place(at): Place) -> Option<Dropped> {
        self.drop_oldest_of(self.slot(at).tenant as usize)
    }

    /// Drops that of the tenant which has most.
    pub(crate) fn drop_oldest_of_largest(&mut self) -> Option<Dropped> {
        let order = |a: &Tenant, b: &Tenant| (a.bytes, &a.name).cmp(&(b.bytes, &b.name));
        let largest = self.tenants.iter().enumerate().max_by(|(_, a), (_, b)| order(a, b))?.0;
        self.drop_oldest_of(largest)
    }

    fn drop_oldest_of(&mut self, tenant: usize) -> Option<Dropped> {
        loop {
            let Reverse((number, at)) = self.tenants[tenant].turns.pop()?;
            let used = self.slot(at).used;
            if used == number {
                return Some(self.drop_at(at));
            }
            self.tenants[tenant].turns.push(Reverse((used, at)));
        }
    }

    /// Drops a group whose turn was taken away.
    fn drop_at(&mut self, at: u32) -> Dropped {
        self.take_out(at);
        let slot = self.slot_mut(at);
        let (key, correlation, tenant) = (slot.key, slot.correlation as usize, slot.tenant as usize);
        let window = std::mem::take(&mut slot.window);
        self.account(at, 0, OVERHEAD + window.bytes());
        self.slot_mut(at).correlation = NONE;
        self.free.push(at);
        self.count -= 1;
        let name = self.tenants[tenant].name.clone();
        if self.tenants[tenant].bytes == 0 {
            let of = &mut self.tenants[tenant];
            self.by_name.remove(&of.name);
            of.turns = BinaryHeap::new();
            self.free_tenants.push(u32::try_from(tenant).unwrap_or(NONE));
        }
        Dropped { tenant: name, correlation, key, window }
    }

    /// Drops the groups that `is_over` says of, given its correlation and when it was seen, in minutes: at most so many, those first that
    /// were used longest ago.
    pub(crate) fn drop_all(&mut self, is_over: impl Fn(usize, u32) -> bool, most: usize) -> Vec<Dropped> {
        let slots = self.chunks.iter().flatten().zip(0..);
        let of = slots.filter(|(slot, _)| slot.correlation != NONE && is_over(slot.correlation as usize, slot.seen));
        let mut over: Vec<(u64, u32)> = of.map(|(slot, at)| (slot.used, at)).collect();
        if over.len() > most {
            over.select_nth_unstable(most);
            over.truncate(most);
        }
        over.sort_unstable();
        let dropped = over.iter().map(|(_, at)| self.drop_at(*at)).collect::<Vec<_>>();
        if !dropped.is_empty() {
            let Self { tenants, chunks, .. } = self;
            let is_there = |at: u32| chunks[at as usize / CHUNK][at as usize % CHUNK].correlation != NONE;
            tenants.iter_mut().for_each(|tenant| tenant.turns.retain(|Reverse((_, at))| is_there(*at)));
        }
        dropped
    }

    /// Has every group be of the correlation that `place` says of its own; those of which it says nothing are dropped.
    pub(crate) fn move_all(&mut self, place: impl Fn(usize) -> Option<usize>) -> Vec<Dropped> {
        let dropped = self.drop_all(|correlation, _| place(correlation).is_none(), usize::MAX);
        for slot in self.chunks.iter_mut().flatten().filter(|slot| slot.correlation != NONE) {
            let moved = place(slot.correlation as usize).and_then(|to| u32::try_from(to).ok());
            slot.correlation = moved.unwrap_or(slot.correlation);
        }
        dropped
    }

    /// The group at a place.
    pub(crate) fn group(&self, Place(at): Place) -> Group<'_> {
        let slot = self.slot(at);
        Group {
            tenant: &self.tenants[slot.tenant as usize].name,
            key: slot.key,
            window: &slot.window,
            used: Use { number: slot.used, minute: slot.seen },
        }
    }

    fn tenant(&mut self, name: &str) -> u32 {
        if let Some(at) = self.by_name.get(name) {
            return *at;
        }
        let tenant = Tenant { name: name.into(), turns: BinaryHeap::new(), bytes: 0 };
        let at = match self.free_tenants.pop() {
            Some(at) => {
                self.tenants[at as usize] = tenant;
                at
            }
            None => {
                self.tenants.push(tenant);
                u32::try_from(self.tenants.len() - 1).unwrap_or(NONE)
            }
        };
        self.by_name.insert(name.into(), at);
        at
    }
}

/// The table: slots by the first bits of their keys, which are evenly spread; what finds its place taken stands behind it.
impl Store {
    fn home(&self, key: GroupKey) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are wanted")]
        let home = key.bits() as usize & (self.table.len() - 1);
        home
    }

    fn find(&self, key: GroupKey) -> Option<u32> {
        let mut at = self.home(key);
        loop {
            match self.table[at] {
                NONE => return None,
                slot if self.slot(slot).key == key => return Some(slot),
                _ => at = (at + 1) & (self.table.len() - 1),
            }
        }
    }

    fn put(&mut self, slot: u32) {
        let mut at = self.home(self.slot(slot).key);
        while self.table[at] != NONE {
            at = (at + 1) & (self.table.len() - 1);
        }
        self.table[at] = slot;
    }

    fn grow(&mut self) {
        let larger = vec![NONE; self.table.len() * 2];
        let before = std::mem::replace(&mut self.table, larger);
        before.into_iter().filter(|slot| *slot != NONE).for_each(|slot| self.put(slot));
    }

    /// Takes a slot out, and moves those up that stand behind it for want of a place.
    fn take_out(&mut self, slot: u32) {
        let last = self.table.len() - 1;
        let mut hole = self.home(self.slot(slot).key);
        while self.table[hole] != slot {
            hole = (hole + 1) & last;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & last;
            let next = self.table[at];
            if next == NONE {
                break;
            }
            let home = self.home(self.slot(next).key);
            // Whether its home is not between the hole and where it stands.
            if (at.wrapping_sub(home) & last) >= (at.wrapping_sub(hole) & last) {
                self.table[hole] = next;
                hole = at;
            }
        }
        self.table[hole] = NONE;
    }
}
