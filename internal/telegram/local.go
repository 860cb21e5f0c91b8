package telegram

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"syscall"
)

// isLocal says whether a file_path is one of a Bot API server with --local, which gives places on its own disk.
func isLocal(filePath string) bool {
	return strings.HasPrefix(filePath, "/") || strings.Contains(filePath, `\`) || len(filePath) > 1 && filePath[1] == ':'
}

// openLocal opens a file of a server with --local: a regular one below dir, on whose way are no links. The server may
// see the folder under another name: it keeps the files of a bot in a folder that is named by the token, so the way is
// looked for from there, too. No error has the path, which has the token in it.
func openLocal(dir string, token Token, filePath string) (io.ReadCloser, error) {
	if dir == "" {
		return nil, errors.New("the Bot API server keeps it in a folder of its own, and BOT_FILES_DIR does not say where " +
			"that is")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("BOT_FILES_DIR cannot be opened: %w", reasonOf(err))
	}
	defer root.Close()
	err = errors.New("its place is outside of BOT_FILES_DIR")
	for _, rest := range places(dir, token.wire(), filePath) {
		var f *os.File
		if f, err = openRegular(root, rest); err == nil {
			return f, nil
		}
		err = fmt.Errorf("it cannot be read below BOT_FILES_DIR: %w", reasonOf(err))
	}
	return nil, err
}

// places are where a file may be below dir.
func places(dir, folder, filePath string) (list []string) {
	for _, part := range strings.Split(filePath, "/") {
		if part == ".." {
			return nil
		}
	}
	if rest, ok := strings.CutPrefix(path.Clean(filePath), path.Clean(dir)+"/"); ok {
		list = append(list, rest)
	}
	if _, rest, ok := strings.Cut(filePath, "/"+folder+"/"); ok && rest != "" {
		list = append(list, path.Join(folder, rest), path.Clean(rest))
	}
	return list
}

// openRegular opens a file below root. Each step to it is looked at first, and the file once more when it is open.
func openRegular(root *os.Root, name string) (*os.File, error) {
	var last os.FileInfo
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		info, err := root.Lstat(name[:i])
		switch {
		case err != nil:
			return nil, err
		case i < len(name) && !info.IsDir(), i == len(name) && !info.Mode().IsRegular():
			return nil, errNotRegular
		}
		last = info
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would wait for its writer
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(info, last) {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

var errNotRegular = errors.New("it is a link or no regular file")

// reasonOf is an error without the path.
func reasonOf(err error) error {
	var at *os.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
