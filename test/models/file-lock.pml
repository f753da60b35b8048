/* The lock of one session of the file storage: lib/storage/file/file-lock.ts and file.backend.ts.
 *
 * P writers add one bit each to the record; D removals (log-outs) take it away, and so does the first writer in place of
 * its save with HELD (as regenerate does). Each may stand still between any two steps (that is what interleaving means), and
 * with CRASH each may die at any step. A rename is two steps to another process: it looks up the folders, then moves. Time
 * may let any lease lapse at any moment.
 *
 * Holds: invariant 1 (no lost update), 2 (no resurrection).
 * Mutants, which have to be refused:
 *   -DMUTANT=1  giving back does not ask whose baton it is (a lock that is moved away whole)
 *   -DMUTANT=2  a thief does not empty the baton
 *   -DMUTANT=3  what is saved does not lie in the baton: the lock is looked at, and then the file is renamed
 *   -DMUTANT=4  a removal does not take the lock
 *   -DMUTANT=5  who takes over from a removal that lapsed goes on with the session, in place of finishing it
 *   -DMUTANT=6  a holder that removes its session goes on under its own name (with HELD)
 */
#ifndef P
#define P 2
#endif
#ifndef D
#define D 1
#endif
#ifndef MUTANT
#define MUTANT 0
#endif
#define N (P + D)
#define FOLDERS 4                 /* how often the lock may be made */

#define NONE 0                    /* no lock, or an empty folder */
#define FREE 1
#define TOKEN (me + 2)
#define REMOVAL (me + 2 + N)        /* the lease of a removal by this process */
#define IS_REMOVAL(name) (name >= P + 2)
#define TOKENS (2 + N + N)

byte baton = NONE;                /* its name */
byte folder = 0;                  /* which one it is: a rename that has looked it up goes on in it */
byte made = 0;
bool lapsed[TOKENS];              /* by token */
bool staged[FOLDERS * N];         /* the writer's new file lies in that folder */
bool exists = true;
bool destroyed = false;
byte record = 0;                  /* the bits that are stored */

inline mayDie() {
#ifdef CRASH
  if :: skip :: goto dead fi
#else
  skip
#endif
}

/* FileLock.hasLapsed */
active proctype Time() {
  byte token;
  do
  :: atomic { baton > FREE && !lapsed[baton] -> lapsed[baton] = true }
  :: timeout -> break
  od
}

/* FileLock.pass: one rename of the baton */
inline pass(from, to, won) {
  atomic {
    if
    :: baton == from -> baton = to; won = true; lapsed[to] = false
    :: else -> won = false
    fi
  }
}

/* FileLock.make */
inline make(token, won) {
  atomic {
    if
    :: baton == NONE && made < FOLDERS - 1 -> made++; folder = made; baton = token; lapsed[token] = false; won = true
    :: else -> won = false
    fi
  }
}

/* FileLock.steal: the baton is emptied after it was renamed */
inline emptyBaton(where) {
#if MUTANT != 2
  d_step {
    staged[where * N + 0] = false; staged[where * N + 1] = false;
#if N > 2
    staged[where * N + 2] = false;
#endif
#if N > 3
    staged[where * N + 3] = false;
#endif
  }
#else
  skip
#endif
}

/* FileBackend.remove, with the baton under the name of a removal: the rename of the session's file into the baton, and then
 * FileLock.remove */
inline moveAway(won) {
  atomic { won = (baton == name) }                       /* looks the baton up */
  if :: !won -> goto claimToRemove :: else fi;
  atomic { if :: exists -> exists = false; destroyed = true :: else fi }
  mayDie();
  pass(name, NONE, won);
}

/* FileBackend.remove: takes the lock from whoever has it */
inline claimForRemoval(won) {
  skip;
claimToRemove:
  if :: !exists -> goto out :: else fi;
#if MUTANT != 4
  pass(FREE, name, won);
  if :: won -> goto toRemove :: else fi;
  holder = baton;
  if
  :: holder == NONE -> make(name, won); if :: won -> goto toRemove :: made == FOLDERS - 1 -> goto out :: else -> goto claimToRemove fi
  :: holder == FREE -> goto claimToRemove
  :: else
  fi;
  mayDie();
  atomic { where = folder; pass(holder, name, won) }
  if :: !won -> goto claimToRemove :: else fi;
  emptyBaton(where);
  if :: baton != name -> goto claimToRemove :: else fi;  /* renew */
toRemove:
  mayDie();
  moveAway(won)
#else
  atomic { exists = false; destroyed = true }
#endif
}

proctype Writer(byte me) {
  byte holder, values, where, name; bool won;
  name = REMOVAL;
claim:                                                   /* FileLock.claim */
  pass(FREE, TOKEN, won);
  if :: won -> goto locked :: else fi;
  holder = baton;
  if
  :: holder == NONE -> make(TOKEN, won); if :: won -> goto locked :: made == FOLDERS - 1 -> goto out :: else -> goto claim fi
  :: holder == FREE -> goto claim
  :: else
  fi;
  if :: !lapsed[holder] -> if :: goto claim :: goto out fi :: else fi;
#if MUTANT != 5
  if :: IS_REMOVAL(holder) -> goto claimToRemove :: else fi;
#endif
  mayDie();
  atomic { where = folder; pass(holder, TOKEN, won) }    /* FileLock.steal */
  if :: !won -> goto claim :: else fi;
  mayDie();
  emptyBaton(where);
  if :: baton != TOKEN -> goto claim :: else fi;         /* renew */
locked:
  mayDie();
  atomic { won = exists; values = record | (1 << me) }   /* FileRecords.read */
  if :: !won -> goto giveUp :: else fi;
  mayDie();
#ifdef HELD
  if                                                     /* FileBackend.removeHeld */
  :: me == 0 ->
#if MUTANT == 6
       name = TOKEN; goto toRemove
#else
       pass(TOKEN, name, won); if :: won -> goto toRemove :: else -> goto out fi
#endif
  :: else
  fi;
#endif
#if MUTANT == 3
  if :: baton != TOKEN -> goto out :: else fi;
  mayDie();
  atomic { assert(!destroyed); assert((record & ~values) == 0); record = values; exists = true }
#else
  atomic { won = (baton == TOKEN); where = folder }      /* writeRecord: looks the baton up, then makes the file */
  if :: !won -> goto out :: else fi;
  staged[where * N + me] = true;
  mayDie();
  atomic { won = (baton == TOKEN); where = folder }      /* rename: looks the baton up, then moves the file */
  if :: !won -> goto out :: else fi;
  atomic {
    if
    :: staged[where * N + me] ->
         staged[where * N + me] = false;
         assert(!destroyed);                             /* no resurrection */
         assert((record & ~values) == 0);                /* no lost update: what is replaced is a part of what replaces it */
         record = values; exists = true
    :: else -> goto out
    fi
  }
#endif
  mayDie();
#if MUTANT == 1
  atomic { if :: baton != NONE -> baton = FREE :: else fi }
#else
  pass(TOKEN, FREE, won);                                /* FileLock.release */
#endif
  goto out;
giveUp:
  pass(TOKEN, NONE, won);                                /* FileLock.remove */
  goto out;
  claimForRemoval(won);
out:
  skip;
dead:
  skip
}

proctype Removal(byte me) {
  byte holder, where, name; bool won;
  name = TOKEN;
  claimForRemoval(won);
out:
  skip;
dead:
  skip
}

init {
  atomic {
    byte i;
    for (i : 0 .. P - 1) { run Writer(i) }
    for (i : P .. N - 1) { run Removal(i) }
  }
}
