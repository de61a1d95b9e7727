<?php
declare(strict_types=1);
use PHPUnit\Framework\TestCase;

final class ShapesTest extends TestCase
{
    public function testSquare(): void { $this->assertSame(4, 2 * 2); }
    public function testWrong(): void { $this->assertSame('größe', 'klein <&> "x"'); }
    public function testError(): void { throw new RuntimeException('no such shape: größe'); }
    public function testSkipped(): void { $this->markTestSkipped('not on this machine'); }
    public function testIncomplete(): void { $this->markTestIncomplete('later'); }
    /** @doesNotPerformAssertions */
    public function testPrints(): void { echo "printed größe\n"; }
    public function testRisky(): void { }
    /** @dataProvider sizes */
    public function testSizes(int $size, bool $fits): void { $this->assertSame($fits, $size < 10); }
    public function sizes(): array { return ['klein' => [1, true], 'groß' => [20, true], [3, true]]; }
}
