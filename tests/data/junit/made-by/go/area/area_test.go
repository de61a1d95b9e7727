package area

import "testing"

func TestSquare(t *testing.T) {
	if 2*2 != 4 {
		t.Fatal("wrong")
	}
}

func TestWrong(t *testing.T) {
	t.Log("größe ✓ & <tag>")
	t.Errorf("got %d, want %d", 3, 4)
}

func TestSkipped(t *testing.T) { t.Skip("not on this machine") }

func TestTable(t *testing.T) {
	for _, name := range []string{"klein", "groß", "a/b c"} {
		t.Run(name, func(t *testing.T) {
			if name == "groß" {
				t.Error("too large")
			}
		})
	}
}

func TestPanics(t *testing.T) {
	var values []int
	_ = values[3]
}
