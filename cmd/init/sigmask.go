package main

import (
	"encoding/binary"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maskAtStart is the signal mask that init was started with, and the command is to have. It must be called on the main thread.
//
// Go's runtime has unblocked what it needs by now (SIGCHLD, SIGTERM and the like), and keeps the mask of the start where only
// itself can find it: in the thread's own record. There it is looked up, with the thread's number as the landmark; what is
// found is believed only if it is the present mask but for the signals that the runtime unblocks, and a failure leaves the
// present mask, which lacks just these. TestMask fails should a new release of Go have another record.
func maskAtStart() (mask unix.Sigset_t) {
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, nil, &mask); err != nil {
		return mask
	}
	const words, maskBehindNumber = 24, 7 // m.procid, m.gsignal, five words of m.goSigStack, m.sigmask
	thread, ok := readOwn(goroutine()+6*8, 1)
	if !ok { // g.stack is two words, then come stackguard0, stackguard1, _panic, _defer and m
		return mask
	}
	record, ok := readOwn(uintptr(thread[0]), words)
	if !ok {
		return mask
	}
	for i := 1; i+maskBehindNumber < words; i++ {
		if record[i] != uint64(unix.Gettid()) {
			continue
		}
		if was := record[i+maskBehindNumber]; was&^unblockedByGo == mask.Val[0]&^unblockedByGo {
			mask.Val[0] = was
			return mask
		}
	}
	return mask
}

// unblockedByGo are the signals that the runtime unblocks in every thread, a bit each; see blockableSig in runtime/signal_unix.go.
var unblockedByGo = func() (set uint64) {
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGTERM, syscall.SIGSYS, syscall.SIGURG, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGSEGV,
		syscall.SIGSTKFLT, syscall.SIGCHLD, syscall.SIGPROF, 32, 33, 34} {
		set |= 1 << (sig - 1)
	}
	return set
}()

// readOwn reads n words of this process's memory at address; one that is not mapped is an error, and no fault.
func readOwn(address uintptr, n int) ([]uint64, bool) {
	b := make([]byte, 8*n)
	local := []unix.Iovec{{Base: unsafe.SliceData(b)}}
	local[0].SetLen(len(b))
	have, err := unix.ProcessVMReadv(os.Getpid(), local, []unix.RemoteIovec{{Base: address, Len: len(b)}}, 0)
	if err != nil || have != len(b) {
		return nil, false
	}
	words := make([]uint64, n)
	for i := range words {
		words[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return words, true
}
