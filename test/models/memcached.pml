/* A session in memcached: lib/storage/memcached/memcached.backend.ts and memcached.locks.ts.
 *
 * W writers lock the session, may renew, and add one bit each; the last one may also leave the session as it is, and touch it
 * (unlock with a ttl). T touches and D log-outs come without the lock. Each atomic block is one command at the server; between
 * any two of them, everybody else may go on, also where they are sent in one piece. Time may let any lock lapse at any moment.
 * With LATE, the answer to a save may be lost: its lock is given back, and the save is carried out later, or never.
 *
 * Marks (cas) and versions are unique numbers on the server. All that is ever asked of one is whether it is still the same: so
 * here each process has a bit that says whether what it has noted is what is stored.
 *
 * Holds: invariant 1 (no lost update), 2 (no resurrection), and whose lock never lapsed is refused nothing (without LATE), unless
 * another took the lock, stood still for longer than its lease, and then read.
 * Mutants, which have to be refused:
 *   -DMUTANT=1  the lock is freed in the same flight as the save that may have to be tried again
 *   -DMUTANT=2  a second try does not ask for the version
 *   -DMUTANT=3  a renewal takes over a changed version, in place of refusing it
 *   -DMUTANT=4  who takes over a lapsed lock leaves the version as it is
 */
#ifndef W
#define W 3
#endif
#ifndef T
#define T 1
#endif
#ifndef D
#define D 0
#endif
#ifndef MUTANT
#define MUTANT 0
#endif

#define FREE 0
#define TOKEN (me + 1)
#define BIT (1 << me)

/* The item of the session. */
bool exists = true;
bool destroyed = false;
byte data = 0;                    /* the bits that are stored */
byte sameMark = 0;                /* whose noted mark is the item's */
byte sameVersion = 0;             /* whose noted version is the item's */

/* The item of its lock. */
byte lock = FREE;
bool lapsed = false;
byte sameLockMark = 0;            /* whose noted mark is the lock's */
byte hasLapsed = 0;               /* whose lock has lapsed while it held it */
bool hasReadLate = false;         /* somebody has read when its lock was lost already */

active proctype Time() {
  do
  :: atomic { lock != FREE && !lapsed -> lapsed = true; hasLapsed = hasLapsed | (1 << (lock - 1)) }
  od
}

/* MemcachedLocks.add */
inline addLock(won) {
  atomic {
    if
    :: lock == FREE -> lock = TOKEN; lapsed = false; sameLockMark = BIT; won = true
    :: else -> won = false
    fi
  }
}

/* MemcachedLocks.set, by the noted mark */
inline setLock(won) {
  atomic {
    if
    :: lock != FREE && (sameLockMark & BIT) -> lock = TOKEN; lapsed = false; sameLockMark = BIT; won = true
    :: else -> won = false
    fi
  }
}

/* MemcachedLocks.delete, by the noted mark */
inline deleteLock(won) {
  atomic {
    if
    :: lock != FREE && (sameLockMark & BIT) -> lock = FREE; sameLockMark = 0; won = true
    :: else -> won = false
    fi
  }
}

/* MemcachedBackend.find: notes the mark and the version. */
inline find(found) {
  atomic {
    found = exists;
    hasReadLate = hasReadLate || (holds && lock != TOKEN);
    if :: exists -> read = data; sameMark = sameMark | BIT; sameVersion = sameVersion | BIT :: else fi
  }
}

/* MemcachedBackend.replaceItem, by the noted mark. @param value keepsVersion is that of a touch */
inline setItem(value, keepsVersion, won) {
  atomic {
    if
    :: exists && (sameMark & BIT) ->
         assert(!destroyed);                             /* no resurrection */
         assert((data & ~(value)) == 0);                 /* no lost update: what is replaced is a part of what replaces it */
         data = value; sameMark = BIT; won = true;
         if :: keepsVersion :: else -> sameVersion = BIT fi
    :: else -> won = false
    fi
  }
}

/* MemcachedBackend.ifUnsaved, after a try by a mark that was out of date: notes the new one. */
inline findUnsaved(found) {
  atomic {
#if MUTANT == 2
    found = exists;
#else
    found = exists && (sameVersion & BIT);
#endif
    if :: found -> sameMark = sameMark | BIT :: else fi
  }
}

/* MemcachedLocks.free */
inline free(won) {
  deleteLock(won);
  if
  :: won
  :: else ->
       atomic { won = (lock == TOKEN); if :: won -> sameLockMark = sameLockMark | BIT :: else fi }
       if :: won -> deleteLock(won) :: else fi
  fi
}

proctype Writer(byte me) {
  byte read; bool won, found, holds;
claim:                                                   /* MemcachedBackend.lock */
  addLock(holds);
  find(found);
  if :: holds -> if :: found -> goto locked :: else -> goto giveBack fi :: else fi;
  atomic {                                               /* MemcachedLocks.get, takeOver */
    won = (lock == FREE);
    if
    :: lock != FREE && lapsed -> sameLockMark = sameLockMark | BIT
    :: lock != FREE && !lapsed -> if :: goto claim :: goto out fi      /* busy: it asks again, or gives up */
    :: else
    fi
  }
  if :: won -> addLock(holds) :: else -> setLock(holds) fi;
  if :: !holds -> if :: goto claim :: goto out fi :: else fi;
renewVersion:                                            /* MemcachedBackend.renewVersion */
  find(found);
  if :: !found -> goto giveBack :: else fi;
#if MUTANT != 4
  setItem(read, false, won);
  if :: !won -> goto renewVersion :: else fi;
#endif
locked:
  if
  :: skip
  :: setLock(won);                                       /* MemcachedBackend.renewHeld: a changed version is refused */
#if MUTANT == 3
     atomic { if :: exists -> sameMark = sameMark | BIT; sameVersion = sameVersion | BIT :: else fi }
#endif
     skip
  fi;
  if
  :: me == W - 1 -> goto unlock
  :: skip
  fi;
save:                                                    /* MemcachedBackend.save, with unlock */
#ifdef LATE
  if
  :: skip
  :: free(won);                                          /* UnlockRetries */
     setItem(read | BIT, false, won);                    /* by the same mark, and never tried again */
     goto out
  fi;
#endif
  setItem(read | BIT, false, won);
#if MUTANT == 1
  free(found);
#endif
  if :: won -> goto giveBack :: else fi;
  findUnsaved(found);
  if :: found -> goto save :: else fi;
  goto refused;
unlock:                                                  /* MemcachedBackend.unlock, with a ttl */
  free(won);
touch:
  setItem(read, true, won);
  if :: won -> goto out :: else fi;
  findUnsaved(found);
  if :: found -> goto touch :: else -> goto out fi;
refused:
#ifndef LATE
  assert(destroyed || hasReadLate || (hasLapsed & BIT)); /* a touch costs nobody a 503 */
#endif
giveBack:                                                /* MemcachedLocks.freeLater */
  free(won);
out:
  skip
}

/* MemcachedBackend.touch */
proctype Touch(byte me) {
  byte read; bool won, found, holds;
again:
  find(found);
  if :: !found -> goto out :: else fi;
  setItem(read, true, won);
  if :: !won -> goto again :: else fi;
out:
  skip
}

/* MemcachedBackend.delete, without a lease */
proctype LogOut() {
  atomic { if :: exists -> exists = false; destroyed = true; sameMark = 0; sameVersion = 0 :: else fi }
  atomic { lock = FREE; sameLockMark = 0 }
}

init {
  atomic {
    byte i;
    for (i : 0 .. W - 1) { run Writer(i) }
    for (i : W .. W + T - 1) { run Touch(i) }
    for (i : 0 .. D - 1) { run LogOut() }
  }
}
