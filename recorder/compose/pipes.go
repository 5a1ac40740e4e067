package compose

import (
	"fmt"
	"os"
)

// pipeSet is all the pipes of one child, both ends.
type pipeSet struct {
	in     []*os.File // we write
	out    []*os.File // we read
	stderr *os.File

	theirIn     []*os.File
	theirOut    []*os.File
	theirStderr *os.File
	theirExtra  []*os.File // inputs, then the outputs but the first
}

func openPipes(inputs, outputs int) (*pipeSet, error) {
	p := &pipeSet{}
	open := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err != nil {
			p.close()
			return nil, nil, fmt.Errorf("pipe: %w", err)
		}
		return r, w, nil
	}
	for range inputs {
		r, w, err := open()
		if err != nil {
			return nil, err
		}
		p.in, p.theirIn = append(p.in, w), append(p.theirIn, r)
	}
	for range outputs {
		r, w, err := open()
		if err != nil {
			return nil, err
		}
		p.out, p.theirOut = append(p.out, r), append(p.theirOut, w)
	}
	r, w, err := open()
	if err != nil {
		return nil, err
	}
	p.stderr, p.theirStderr = r, w
	p.theirExtra = append(p.theirExtra, p.theirIn...)
	if outputs > 1 {
		p.theirExtra = append(p.theirExtra, p.theirOut[1:]...)
	}
	return p, nil
}

// closeTheirs closes the child's ends here; it has its own.
func (p *pipeSet) closeTheirs() {
	closeAll(p.theirIn)
	closeAll(p.theirOut)
	closeAll([]*os.File{p.theirStderr})
}

func (p *pipeSet) closeInputs() { closeAll(p.in) }

// close closes everything; closing twice does no harm.
func (p *pipeSet) close() {
	p.closeTheirs()
	closeAll(p.in)
	closeAll(p.out)
	closeAll([]*os.File{p.stderr})
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}
