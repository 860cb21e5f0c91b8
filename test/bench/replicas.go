package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"tandem/internal/pgtest"
	"tandem/internal/simulator"
)

const (
	connections = 16 // of all replicas together
	loaded      = 2 * time.Second
	warmUp      = 500 * time.Millisecond // until each replica's pool and each connection is there
)

var replicaCounts = []int{1, 2, 4}

// fleet is what several webs share: the database, and the token that each of them takes.
type fleet struct {
	*bench
	db     *pgtest.Instance
	env    []string
	bearer string
	read   int64   // the conversation that is read: it has 50 messages and gets no more
	write  []int64 // those that are answered
	stored float64 // updates a second, while it was filled
}

// kind is a sort of load: what each connection asks for the nth time.
type kind struct {
	name string
	ask  func(f *fleet, n int) request
}

type request struct{ method, path, body string }

var kinds = []kind{
	{"list of 50 conversations", func(*fleet, int) request { return listOf50 }},
	{"50 messages of a conversation", func(f *fleet, _ int) request {
		return request{"GET", fmt.Sprintf("/conversations/%d/messages?limit=50", f.read), ""}
	}},
	{"post an answer", func(f *fleet, _ int) request { return f.post() }},
	{"list, each tenth request a post", func(f *fleet, n int) request {
		if n%10 == 9 {
			return f.post()
		}
		return listOf50
	}},
}

var listOf50 = request{"GET", "/conversations?limit=50", ""}

func (f *fleet) post() request {
	path := fmt.Sprintf("/conversations/%d/messages", f.write[rand.IntN(len(f.write))])
	return request{"POST", path, `{"text":"an answer of a benchmark"}`}
}

// replicas prints how 1, 2 and 4 webs on one PostgreSQL do under load. Where the webs, the database and the load share
// a small machine, the machine is the limit, and more webs do no more. So there is also a table of webs that have
// little of it each.
func (b *bench) replicas() error {
	db, err := pgtest.Standalone("fsync=on", "full_page_writes=on")
	if errors.Is(err, pgtest.ErrNotInstalled) {
		fmt.Println("\nNo table of several replicas of web: PostgreSQL is not installed.")
		return nil
	}
	if err != nil {
		return err
	}
	defer db.Remove()
	f := &fleet{bench: b, db: db, env: append(os.Environ(), "DATABASE_URL="+db.URL(), "LOG_LEVEL=warn")}
	if err := f.seed(); err != nil {
		return fmt.Errorf("seed PostgreSQL: %w", err)
	}

	fmt.Printf("\n1, 2 and 4 replicas of web on one PostgreSQL (fsync=on), under load in one run: "+
		"medians of %d rounds of %s.\n", b.rounds, loaded)
	fmt.Printf("There are %d connections in all. Each asks again as soon as it was answered. "+
		"The client spreads them evenly.\n", connections)
	groups, remove, err := eighths(slices.Max(replicaCounts))
	if err != nil {
		fmt.Printf("\nNo table of webs limited to an eighth of a processor: %v.\n", err)
	} else {
		defer remove()
		if err := f.table("Each web limited to an eighth of a processor", groups); err != nil {
			return err
		}
	}
	return f.table("Not limited: webs, PostgreSQL and the load share the machine", nil)
}

// seed has a bot store 1,000 conversations, and finds out how fast that is, and their ids.
func (f *fleet) seed() error {
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		return err
	}
	defer sim.Close()
	sim.AddBot(token)
	tg := httptest.NewServer(sim)
	defer tg.Close()
	defer tg.CloseClientConnections()
	if f.bearer, err = f.createToken(f.env); err != nil {
		return err
	}
	env := append(slices.Clone(f.env), "RUN_DIR="+filepath.Join(f.dir, "seed"), "BOT_OPS_ADDR=off",
		"BOT_PACE=false", "TELEGRAM_API_URL="+tg.URL, "TELEGRAM_BOT_TOKEN="+token)
	bot, err := start(exec.Command(filepath.Join(f.bin, "bot")), env, nil, "")
	if err != nil {
		return err
	}
	defer bot.kill()
	if err := sim.WaitFor(30*time.Second, func() bool { return sim.Polls(0).Waiting == 1 }); err != nil {
		return fmt.Errorf("no poll: %w\n%s", err, bot.log)
	}
	if err := sim.Batch(func() error {
		for i := range 5000 {
			if _, err := sim.CustomerWrites(int64(1000+i%1000), fmt.Sprintf("message %d of a benchmark", i)); err != nil {
				return err
			}
		}
		for i := range 50 {
			if _, err := sim.CustomerWrites(1000, fmt.Sprintf("one more message, %d", i)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	began := time.Now()
	if err := sim.WaitFor(2*time.Minute, func() bool { return sim.Polls(0).Pending == 0 }); err != nil {
		return fmt.Errorf("%w\n%s", err, bot.log)
	}
	f.stored = 5050 / time.Since(began).Seconds()

	webs, err := f.start(1, nil)
	defer webs.kill()
	if err != nil {
		return err
	}
	body, err := f.do(http.DefaultClient, webs[0], request{"GET", "/conversations?limit=200", ""})
	if err != nil {
		return err
	}
	var list struct{ Items []struct{ ID int64 } }
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	if len(list.Items) != 200 {
		return fmt.Errorf("%d conversations are listed, want 200", len(list.Items))
	}
	f.read = list.Items[0].ID // newest first, and who wrote last has the messages
	for _, c := range list.Items[1:] {
		f.write = append(f.write, c.ID)
	}
	return nil
}

// replica is a running web.
type replica struct {
	*system
	api string
}

type replicas []replica

func (all replicas) kill() {
	for _, w := range all {
		w.system.kill()
	}
}

func (all replicas) pids() (pids []int) {
	for _, w := range all {
		pids = append(pids, w.cmd.Process.Pid)
	}
	return pids
}

// start returns n webs once they are ready, each in one of the cgroups if there are any. Those that it returns with an
// error run, too.
func (f *fleet) start(n int, groups []string) (replicas, error) {
	var all replicas
	for i := range n {
		f.n++
		addr, err := freeAddr()
		if err != nil {
			return all, err
		}
		env := append(slices.Clone(f.env), "WEB_ADDR="+addr, "WEB_OPS_ADDR=off", fmt.Sprintf("RUN_DIR=%s/web%d", f.dir, f.n))
		if groups != nil {
			env = append(env, "GOMAXPROCS=1") // two threads would spend what they have at once, and pause for longer
		}
		s, err := start(exec.Command(filepath.Join(f.bin, "web")), env, nil, "http://"+addr+"/readyz")
		if err != nil {
			return all, err
		}
		all = append(all, replica{s, "http://" + addr + "/api/v1"})
		if groups != nil {
			if err := write(filepath.Join(groups[i], "cgroup.procs"), strconv.Itoa(s.cmd.Process.Pid)); err != nil {
				return all, err
			}
		}
	}
	for _, w := range all {
		if err := w.firstAnswer(); err != nil {
			return all, fmt.Errorf("%w\n%s", err, w.log)
		}
	}
	return all, nil
}

// do asks one web for something, and takes no other answer than that it was done.
func (f *fleet) do(client *http.Client, w replica, r request) ([]byte, error) {
	want := http.StatusOK
	if r.method == "POST" {
		want = http.StatusAccepted
	}
	ask, err := http.NewRequest(r.method, w.api+r.path, strings.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	ask.Header.Set("Authorization", "Bearer "+f.bearer)
	ask.Header.Set("Content-Type", "application/json")
	response, err := client.Do(ask)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != want {
		err = fmt.Errorf("%s %s: %s: %s", r.method, r.path, response.Status, body)
	}
	return body, err
}

// table measures every kind of load with every number of webs, round after round, and prints what came out.
func (f *fleet) table(title string, groups []string) error {
	measured := map[string]figures{}
	key := func(k kind, n int) string { return fmt.Sprint(k.name, n) }
	for range f.rounds {
		for _, n := range replicaCounts {
			if err := f.round(n, groups, func(k kind) figures {
				if measured[key(k, n)] == nil {
					measured[key(k, n)] = figures{}
				}
				return measured[key(k, n)]
			}); err != nil {
				return fmt.Errorf("%d replicas: %w", n, err)
			}
		}
	}
	fmt.Printf("\n| %s | replicas | requests/s | ratio | p50 | p99 | processors: web | PostgreSQL |\n"+
		"| --- | --- | --- | --- | --- | --- | --- | --- |\n", title)
	for _, k := range kinds {
		one := measured[key(k, replicaCounts[0])].median("rate")
		for _, n := range replicaCounts {
			m := measured[key(k, n)].median
			fmt.Printf("| %s | %d | %.0f | %.2f | %.1f ms | %.1f ms | %.2f | %.2f |\n", k.name, n, m("rate"), m("rate")/one,
				m("p50"), m("p99"), m("web"), m("postgres"))
		}
	}
	return nil
}

// round measures each kind of load once with n webs.
func (f *fleet) round(n int, groups []string, into func(kind) figures) error {
	webs, err := f.start(n, groups)
	defer webs.kill()
	if err != nil {
		return err
	}
	for _, k := range kinds {
		if err := f.measure(webs, k, into(k)); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return nil
}

func (f *fleet) measure(webs replicas, k kind, into figures) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	if _, err := f.load(client, webs, k, warmUp); err != nil {
		return err
	}
	postmaster, err := f.db.Postmaster()
	if err != nil {
		return err
	}
	web, postgres, began := cpu(webs.pids()...), cpu(family(postmaster)...), time.Now()
	took, err := f.load(client, webs, k, loaded)
	if err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	into.add("web", (cpu(webs.pids()...)-web)/seconds)
	into.add("postgres", (cpu(family(postmaster)...)-postgres)/seconds)
	into.add("rate", float64(len(took))/seconds)
	slices.Sort(took)
	for name, part := range map[string]int{"p50": 50, "p99": 99} {
		into.add(name, float64(took[(len(took)-1)*part/100].Microseconds())/1000)
	}
	return nil
}

// load returns how long each answer took. Every connection stays with one web.
func (f *fleet) load(client *http.Client, webs replicas, k kind, d time.Duration) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for i := range connections {
		wg.Go(func() {
			var took []time.Duration
			var err error
			for n := i; err == nil && time.Now().Before(end); n++ { // from i: not all post at once
				began := time.Now()
				_, err = f.do(client, webs[i%len(webs)], k.ask(f, n))
				took = append(took, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, took...), errors.Join(failed, err)
		})
	}
	wg.Wait()
	return all, failed
}

// family is a process and its children.
func family(pid int) []int { return append(children(pid), pid) }

// cpu is how many seconds of processors the processes have used so far, with those of their children that have ended.
// See proc(5).
func cpu(pids ...int) (seconds float64) {
	for _, pid := range pids {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:])) // a name may hold blanks
		if len(fields) < 15 {
			continue // it has ended
		}
		for _, ticks := range fields[11:15] { // utime, stime, cutime, cstime
			n, _ := strconv.ParseFloat(ticks, 64)
			seconds += n / 100 // USER_HZ wherever Go runs
		}
	}
	return seconds
}

// eighths makes n cgroups, each with an eighth of a processor. Of two processors, four webs then leave enough to the
// database and the load. It returns what removes the cgroups once their processes have ended.
func eighths(n int) (dirs []string, remove func(), err error) {
	for i := range n {
		dir, err := eighth(fmt.Sprintf("tandem-bench-%d-%d", os.Getpid(), i))
		if err != nil {
			return nil, nil, errors.Join(err, removeAll(dirs))
		}
		dirs = append(dirs, dir)
	}
	remove, err = afterwards(`
		i=0
		for dir; do until rmdir "$dir" || [ $((i += 1)) -gt 100 ]; do sleep 0.1; done; done`, dirs...)
	if err != nil {
		return nil, nil, errors.Join(err, removeAll(dirs))
	}
	return dirs, remove, nil
}

func removeAll(dirs []string) (err error) {
	for _, dir := range dirs {
		err = errors.Join(err, syscall.Rmdir(dir))
	}
	return err
}

// eighth makes one, in version 2 of cgroups or in version 1; see cgroups(7). The period is short, because a web that
// has used up its part pauses for the rest of it.
func eighth(name string) (string, error) {
	for _, version := range []struct {
		parent string
		files  [][2]string
	}{
		{"/sys/fs/cgroup", [][2]string{{"cpu.max", "1250 10000"}}},
		{"/sys/fs/cgroup/cpu", [][2]string{{"cpu.cfs_period_us", "10000"}, {"cpu.cfs_quota_us", "1250"}}},
	} {
		dir := filepath.Join(version.parent, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		var err error
		for _, file := range version.files {
			err = errors.Join(err, write(filepath.Join(dir, file[0]), file[1]))
		}
		if err == nil {
			return dir, nil
		}
		_ = syscall.Rmdir(dir)
	}
	return "", errors.New("it takes root, and cgroups with the controller cpu at /sys/fs/cgroup")
}

// write writes to a file of the kernel: where the folder is none of the kernel's, it must not come to be.
func write(path, content string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	return errors.Join(err, file.Close())
}
