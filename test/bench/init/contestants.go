package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// contestant is an init, with the configuration that comes nearest to "web is critical, the bot is not".
type contestant struct {
	name  string
	files []string // its executables; the first one is what runs as PID 1
	// setUp writes what it needs into dir and says how it is started with these two commands, or with web alone.
	setUp func(dir string, web, bot []string) (args, env []string, err error)
	stop  syscall.Signal // what means stop
	pair  bool           // it knows of two processes, rather than of one that a shell has started beside the other
	pokes bool           // it passes SIGUSR1 on
	slow  bool           // it takes so long to start that few rounds must do
}

const ours, floor, bare, plain, barestS6 = "init", "fork+exec", "bare Go", "init --", "s6 without scripts"

// contestants are the inits that are here, and the names of those that are missing.
func contestants(bin, own string) (list []*contestant, missing []string) {
	all := []*contestant{
		{name: ours, files: []string{filepath.Join(bin, "init")}, setUp: setUpOurs, pair: true, pokes: true},
		{name: plain, files: []string{filepath.Join(bin, "init")}, setUp: behindShell("--"), pokes: true},
		{name: bare, files: []string{filepath.Join(own, "bareinit")}, setUp: setUpBare, pokes: true},
		{name: "tini", files: []string{"tini"}, setUp: behindShell("-g", "--"), pokes: true},
		{name: "dumb-init", files: []string{"dumb-init"}, setUp: behindShell("--"), pokes: true},
		{name: "catatonit", files: []string{"catatonit"}, setUp: behindShell("-g", "--"), pokes: true},
		{name: "s6", files: []string{"s6-svscan", "s6-supervise", "s6-svscanctl"}, setUp: setUpS6, pair: true},
		{name: barestS6, files: []string{"s6-svscan", "s6-supervise"}, setUp: setUpBarestS6, pair: true},
		{name: "runit", files: []string{"runsvdir", "runsv"}, setUp: setUpRunit, stop: syscall.SIGHUP, pair: true},
		{name: "supervisord", files: []string{"supervisord"}, setUp: setUpSupervisord, pair: true, slow: true},
		{name: "pebble", files: []string{"pebble"}, setUp: setUpPebble, pair: true, slow: true},
		{name: "process-compose", files: []string{"process-compose"}, setUp: setUpProcessCompose, pair: true, slow: true},
	}
	for _, c := range all {
		if c.stop == 0 {
			c.stop = syscall.SIGTERM
		}
		var err error
		for i, f := range c.files {
			if c.files[i], err = exec.LookPath(f); err == nil {
				c.files[i], err = filepath.Abs(c.files[i])
			}
			if err != nil {
				break
			}
		}
		if err != nil {
			missing = append(missing, c.name)
			continue
		}
		list = append(list, c)
	}
	return list, missing
}

// size is what its executables have together, in MB; 0 for a program in Python, whose interpreter is not counted.
func (c *contestant) size() (mb float64) {
	if c.name == "supervisord" {
		return 0
	}
	for _, f := range c.files {
		if info, err := os.Stat(f); err == nil {
			mb += float64(info.Size()) / 1e6
		}
	}
	return mb
}

func setUpOurs(dir string, web, bot []string) (args, env []string, err error) {
	env = []string{"RUN_DIR=" + filepath.Join(dir, "run"), "WEB_COMMAND=" + strings.Join(web, " "), "STOP_TIMEOUT=3s",
		"TERMINATION_LOG=" + filepath.Join(dir, "none")}
	if bot == nil {
		return nil, append(env, "ENABLE_TELEGRAM_BOT=false"), nil
	}
	return nil, append(env, "BOT_COMMAND="+strings.Join(bot, " ")), nil
}

func setUpBare(_ string, web, bot []string) (args, env []string, err error) {
	args = append(args, web...)
	if bot != nil {
		args = append(append(args, "---"), bot...)
	}
	return args, nil, nil
}

// behindShell is for an init of one command: a shell starts the bot in the background and becomes web.
func behindShell(flags ...string) func(string, []string, []string) ([]string, []string, error) {
	return func(_ string, web, bot []string) (args, env []string, err error) {
		if bot != nil {
			web = []string{"/bin/sh", "-c", strings.Join(bot, " ") + " & exec " + strings.Join(web, " ")}
		}
		return slices.Concat(flags, web), nil, nil
	}
}

// write makes a file of an executable script or a configuration.
func write(path, format string, args ...any) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o755)
}

// setUpS6 has web's finish script end the whole with web's code, as s6-overlay does.
func setUpS6(dir string, web, bot []string) (args, env []string, err error) {
	scan := filepath.Join(dir, "scan")
	code := filepath.Join(dir, "code")
	files := map[string]string{
		"web/run": "#!/bin/sh\nexec " + strings.Join(web, " ") + "\n",
		"web/finish": "#!/bin/sh\n[ $1 = 256 ] && set -- $((128 + $2))\necho $1 >" + code +
			"\nexec s6-svscanctl -t " + scan + "\n",
		"web/timeout-kill":  "3000\n",
		".s6-svscan/finish": "#!/bin/sh\nexit $(cat " + code + ")\n",
	}
	if bot != nil {
		files["bot/run"] = "#!/bin/sh\nexec " + strings.Join(bot, " ") + "\n"
		files["bot/finish"] = "#!/bin/sh\n[ $1 = 64 ] && exit 125\nexit 0\n"
		files["bot/timeout-kill"] = "3000\n"
	}
	for name, content := range files {
		if err := write(filepath.Join(scan, name), "%s", content); err != nil {
			return nil, nil, err
		}
	}
	return []string{scan}, nil, nil
}

// setUpBarestS6 is s6 at its fastest: its programs are started without a shell, and nothing is done when one ends.
func setUpBarestS6(dir string, web, bot []string) (args, env []string, err error) {
	scan := filepath.Join(dir, "scan")
	for name, command := range map[string][]string{"web": web, "bot": bot} {
		if command == nil {
			continue
		}
		if err := write(filepath.Join(scan, name, "command"), "%s\n", strings.Join(command[1:], " ")); err != nil {
			return nil, nil, err
		}
		if err := os.Symlink(command[0], filepath.Join(scan, name, "run")); err != nil {
			return nil, nil, err
		}
	}
	return []string{scan}, nil, nil
}

// setUpRunit has web's finish script end the whole; runsvdir cannot be given a code.
func setUpRunit(dir string, web, bot []string) (args, env []string, err error) {
	services := filepath.Join(dir, "services")
	err = write(filepath.Join(services, "web/run"), "#!/bin/sh\nexec %s\n", strings.Join(web, " "))
	if err == nil {
		err = write(filepath.Join(services, "web/finish"), "#!/bin/sh\nkill -HUP 1\n")
	}
	if err == nil && bot != nil {
		err = write(filepath.Join(services, "bot/run"), "#!/bin/sh\nexec %s\n", strings.Join(bot, " "))
		if err == nil {
			err = write(filepath.Join(services, "bot/finish"), "#!/bin/sh\n[ $1 = 64 ] && exec sv down .\nexit 0\n")
		}
	}
	return []string{"-P", services}, nil, err
}

func setUpSupervisord(dir string, web, bot []string) (args, env []string, err error) {
	const head = "[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\n" +
		"pidfile=%s/pid\nchildlogdir=%[1]s\n"
	const program = "[program:%s]\ncommand=%s\nstartsecs=0\nstopwaitsecs=3\nstdout_logfile=NONE\nstderr_logfile=NONE\n%s\n"
	conf := fmt.Sprintf(head, dir) + fmt.Sprintf(program, "web", strings.Join(web, " "), "autorestart=false")
	if bot != nil {
		conf += fmt.Sprintf(program, "bot", strings.Join(bot, " "), "autorestart=unexpected\nexitcodes=0,64")
	}
	path := filepath.Join(dir, "supervisord.conf")
	return []string{"-c", path}, nil, write(path, "%s", conf)
}

func setUpPebble(dir string, web, bot []string) (args, env []string, err error) {
	const service = "  %s:\n    override: replace\n    startup: enabled\n    command: %s\n    kill-delay: 3s\n%s"
	layer := "services:\n" +
		fmt.Sprintf(service, "web", strings.Join(web, " "), "    on-success: shutdown\n    on-failure: shutdown\n")
	if bot != nil {
		layer += fmt.Sprintf(service, "bot", strings.Join(bot, " "), "    on-success: ignore\n    on-failure: restart\n")
	}
	return []string{"run"}, []string{"PEBBLE=" + dir}, write(filepath.Join(dir, "layers/001-all.yaml"), "%s", layer)
}

func setUpProcessCompose(dir string, web, bot []string) (args, env []string, err error) {
	const process = "  %s:\n    command: %s\n    shutdown:\n      timeout_seconds: 3\n    availability:\n%s"
	conf := "version: \"0.5\"\nprocesses:\n" +
		fmt.Sprintf(process, "web", strings.Join(web, " "), "      restart: \"no\"\n      exit_on_end: true\n")
	if bot != nil {
		conf += fmt.Sprintf(process, "bot", strings.Join(bot, " "), "      restart: on_failure\n")
	}
	path := filepath.Join(dir, "process-compose.yaml")
	args = []string{"up", "-t=false", "--no-server", "-L", filepath.Join(dir, "log"), "-f", path}
	return args, nil, write(path, "%s", conf)
}
