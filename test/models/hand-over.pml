/* The lock of one session inside of a process, and beside another one: lib/locking/lock-manager.ts, held-lock.ts, key-queue.ts,
 * unlock-retries.ts, in front of a storage that does as the contract says.
 *
 * K requests of this process stand in one line; each may give up while it waits. Who gets the lock changes the session and saves
 * it, or leaves it as it is, and gives the lock back or hands it on. A request of another process does the same without a line.
 * With D, a log-out comes at any time. Any answer to this process may be lost, of what was done, or was not; one call may be carried out
 * late (a server that hung). Time may let any lease lapse at any moment.
 *
 * Holds: invariant 1 (no lost update), 2 (no resurrection), 12 (no handler begins with a session whose removal was acknowledged
 * before the holder before it was done), whatever a handler is given is stored, and at the end no lock is left.
 * Mutants, which have to be refused:
 *   -DMUTANT=1  the lock is handed on before its save is stored
 *   -DMUTANT=2  a lost answer is taken for a refusal: nobody gives the lock back
 *   -DMUTANT=3  a lock is handed on unsaved without asking the storage
 *   -DMUTANT=4  a lock is given back once, though what was sent before may be carried out after that
 */
#ifndef K
#define K 3
#endif
#ifndef D
#define D 1
#endif
#ifndef MUTANT
#define MUTANT 0
#endif

#define BIT (1 << me)
#define NOBODY K
#define NONE 0
#define LEASE (me + 1)             /* LockManager.newLease: one for each request that asks */
#define OTHER (K + 1)              /* that of the other process */

/* What the storage has. */
byte holder = NONE;                /* the lease that holds the lock */
bool lapsed = false;
bool exists = true;
byte record = 0;                   /* the bits that are stored */
byte everStored = 0;
bool acknowledged = false;         /* the removal was */

/* The call that hung. */
#define NO_CALL 0
#define LOCK 1
#define SAVE 2
#define UNLOCK 3
byte late = NO_CALL;
byte lateLease = NONE;
byte lateValue = 0;
bool lateUnlocks = false;
bool hasHung = false;

/* KeyQueue, UnlockRetries */
byte served = NOBODY;              /* whose turn it is */
byte waiting = 0;                  /* who stands in line */
byte failed = 0;                   /* who was told of the failure of the one in front (KeyQueue.rejectAll) */
byte handed = NONE;                /* the lease that goes to the one whose turn it is; NONE: it asks for itself */
byte handedValue = 0;
bool wasAcknowledged = false;      /* when the holder before was done */
byte owed[K + 1];                  /* how often a lease is still to be given back */
byte troubles = 0;
byte atWork = K + 1;               /* requests, of both processes */
byte allOwed = 0;

active proctype Time() {
  do
  :: atomic { holder != NONE && !lapsed -> lapsed = true }
  od
}

/* SessionBackend.lock. @param outcome 0: busy, 1: locked, 2: no session */
inline doLock(lease, outcome) {
  if
  :: !exists -> outcome = 2
  :: exists && (holder == NONE || holder == lease || lapsed) -> holder = lease; lapsed = false; outcome = 1
  :: else -> outcome = 0
  fi
}

/* SessionBackend.save */
inline doSave(lease, value, unlocks, saved) {
  if
  :: exists && holder == lease ->
       assert((record & ~(value)) == 0);                 /* no lost update */
       record = value; everStored = everStored | record; lapsed = false; saved = true;
       if :: unlocks -> holder = NONE :: else fi
  :: else -> saved = false
  fi
}

/* SessionBackend.unlock */
inline doUnlock(lease) {
  if :: holder == lease -> holder = NONE; lapsed = false :: else fi
}

/* A server that hung carries out what it had, or never does. */
active proctype Hung() {
  bool ignored; byte outcome;
  do
  :: atomic { late != NO_CALL ->
       if
       :: late == LOCK -> doLock(lateLease, outcome)
       :: late == SAVE -> doSave(lateLease, lateValue, lateUnlocks, ignored)
       :: late == UNLOCK -> doUnlock(lateLease)
       :: skip
       fi;
       late = NO_CALL; lateLease = NONE; lateValue = 0; lateUnlocks = false; outcome = 0; ignored = false }
  od
}

/* UnlockRetries.try: twice. Until the second time, what was sent before has been carried out. */
#define GIVE_BACK(lease) atomic { MAY_TRY(lease) -> doUnlock(lease); owed[lease]--; allOwed-- }
#define MAY_TRY(lease) (owed[lease] == 2 || (owed[lease] == 1 && ASSURED(lease)))
#if MUTANT == 4
#define ASSURED(lease) true
#else
#define ASSURED(lease) (late == NO_CALL || lateLease != lease)
#endif
active proctype Retries() {
  do
  :: GIVE_BACK(1)
  :: GIVE_BACK(2)
#if K > 2
  :: GIVE_BACK(3)
#endif
  od
}

/* LockManager.fail */
inline fail(lease) {
#if MUTANT == 2
  skip
#elif MUTANT == 4
  atomic { owed[lease] = 1; allOwed = allOwed + 1; failed = failed | waiting; waiting = 0 }
#else
  atomic { owed[lease] = 2; allOwed = allOwed + 2; failed = failed | waiting; waiting = 0 }
#endif
}

/* An answer may be lost; with TROUBLES, so many in all. */
#ifdef TROUBLES
#define MAY_LOSE (troubles < TROUBLES)
#define LOST troubles++; answered = false
#else
#define MAY_LOSE true
#define LOST answered = false
#endif

inline hang(call, lease, value, unlocks) {
  hasHung = true; late = call; lateLease = lease; lateValue = value; lateUnlocks = unlocks
}

/* LockManager.next, of one that waits: in the code the first, here any. @param lease NONE: it asks for itself */
inline next(lease, value) {
  atomic {
    if
    :: waiting == 0 -> served = NOBODY
    :: waiting & 1 -> served = 0; waiting = waiting & ~1; handed = lease; handedValue = value
    :: waiting & 2 -> served = 1; waiting = waiting & ~2; handed = lease; handedValue = value
    :: waiting & 4 -> served = 2; waiting = waiting & ~4; handed = lease; handedValue = value
    fi
  }
}

/* LockManager.mayHandOver; the time of its own turn may be over */
inline mayHandOver(hands) {
  atomic { if :: waiting != 0 -> hands = true :: hands = false fi }
}

/* The holder is done: what is acknowledged by now must be seen by the next one. */
inline done() {
  atomic { wasAcknowledged = acknowledged }
}

proctype Request(byte me) {
  byte lease, value, outcome; bool hands, saved, answered;
  atomic {                                               /* LockManager.acquire */
    if
    :: served == NOBODY -> served = me; handed = NONE
    :: else -> waiting = waiting | BIT
    fi
  }
  if                                                     /* KeyQueue.join */
  :: atomic { served == me -> lease = handed; value = handedValue; handed = NONE; handedValue = 0 }
  :: failed & BIT -> goto out
  :: atomic { waiting & BIT -> waiting = waiting & ~BIT; goto out }    /* it gives up, or its time is over */
  fi;
  if :: lease != NONE -> goto work :: else fi;
  lease = LEASE;
ask:                                                     /* LockManager.ask */
  atomic {
    if
    :: true -> doLock(lease, outcome); answered = true; value = record
    :: MAY_LOSE -> doLock(lease, outcome); LOST
    :: MAY_LOSE -> LOST
    :: MAY_LOSE && !hasHung -> hang(LOCK, lease, 0, false); LOST
    fi
  }
  if
  :: !answered -> fail(lease); next(NONE, 0); goto out
  :: answered && outcome == 1 -> goto work
  :: answered && outcome == 2 -> next(NONE, 0); goto out
  :: answered && outcome == 0 -> if :: goto ask :: next(NONE, 0); goto out fi
  fi;
work:                                                    /* the handler begins */
  assert((value & ~everStored) == 0);                    /* what it is given is stored */
  atomic { assert(lease == LEASE || !wasAcknowledged) }  /* ended is ended */
  if :: goto release :: skip fi;

  done();                                                /* HeldLock.save, with release */
  mayHandOver(hands);
  value = value | BIT;
#if MUTANT == 1
  if :: hands -> next(lease, value) :: else fi;
#endif
  atomic {
    if
    :: true -> doSave(lease, value, !hands, saved); answered = true
    :: MAY_LOSE -> doSave(lease, value, !hands, saved); LOST
    :: MAY_LOSE -> LOST
    :: MAY_LOSE && !hasHung -> hang(SAVE, lease, value, !hands); LOST
    fi
  }
  if :: !answered -> fail(lease); saved = false :: else fi;
#if MUTANT == 1
  if :: hands -> goto out :: else fi;
#endif
  if :: saved && hands -> goto handOver :: else -> next(NONE, 0); goto out fi;

release:                                                 /* HeldLock.release */
  done();
  mayHandOver(hands);
  if
  :: hands ->
#if MUTANT != 3
       atomic {                                          /* SessionBackend.renew */
         if
         :: hands = (exists && holder == lease); answered = true; if :: hands -> lapsed = false :: else fi
         :: MAY_LOSE -> LOST                     /* it changes nothing that counts here */
         fi
       }
       if :: !answered -> fail(lease); next(NONE, 0); goto out :: else fi
#endif
       skip
  :: else
  fi;
  if :: hands -> goto handOver :: else fi;
unlock:
  atomic {
    if
    :: true -> doUnlock(lease); answered = true
    :: MAY_LOSE -> doUnlock(lease); LOST
    :: MAY_LOSE -> LOST
    :: MAY_LOSE && !hasHung -> hang(UNLOCK, lease, 0, false); LOST
    fi
  }
  if :: !answered -> fail(lease) :: else fi;
  next(NONE, 0);
  goto out;
handOver:                                                /* LockManager.next; takeBack, if the last one has left */
  atomic { if :: waiting == 0 -> goto unlock :: else -> next(lease, value) fi };
out:
  atomic { atWork--; lease = NONE; value = 0; outcome = 0; hands = false; saved = false; answered = false; failed = failed & ~BIT }
}

/* A LockManager of its own. It is not told wrong: what that leads to is seen with the others. */
proctype OtherProcess() {
  byte value, outcome; bool saved;
  atomic { doLock(OTHER, outcome); value = record }
  if :: outcome != 1 -> goto out :: else fi;
  atomic { doSave(OTHER, value | (1 << K), true, saved) }
out:
  atomic { atWork--; value = 0; outcome = 0; saved = false }
}

/* When all is over, no lock is left. */
active proctype Watch() {
  atomic { atWork == 0 && late == NO_CALL && allOwed == 0 -> assert(holder == NONE) }
}

/* SessionBackend.delete, without a lease */
proctype LogOut() {
  atomic { exists = false; holder = NONE; lapsed = false }
  acknowledged = true
}

init {
  byte i;
  atomic {
    for (i : 0 .. K - 1) { run Request(i) }
    run OtherProcess();
#if D
    run LogOut();
#endif
  }
}
