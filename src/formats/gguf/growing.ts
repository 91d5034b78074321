/** Little-endian fields one after another in a buffer that doubles. */
export class Growing {
  private buffer = new Uint8Array(1 << 16)
  private view = new DataView(this.buffer.buffer)
  private at = 0

  // room() may replace the view: it comes first.
  u8(value: number): void {
    const at = this.room(1)
    this.view.setUint8(at, value)
  }

  u32(value: number): void {
    const at = this.room(4)
    this.view.setUint32(at, value, true)
  }

  i32(value: number): void {
    const at = this.room(4)
    this.view.setInt32(at, value, true)
  }

  f32(value: number): void {
    const at = this.room(4)
    this.view.setFloat32(at, value, true)
  }

  u64(value: number): void {
    const at = this.room(8)
    this.view.setBigUint64(at, BigInt(value), true)
  }

  string(text: string): void {
    const bytes = new TextEncoder().encode(text)
    this.u64(bytes.byteLength)
    this.raw(bytes)
  }

  text(text: string): void {
    this.raw(new TextEncoder().encode(text))
  }

  bytes(): Uint8Array {
    return this.buffer.slice(0, this.at)
  }

  private raw(bytes: Uint8Array): void {
    const at = this.room(bytes.byteLength)
    this.buffer.set(bytes, at)
  }

  private room(bytes: number): number {
    const { at } = this
    this.at += bytes
    if (this.at > this.buffer.byteLength) {
      const larger = new Uint8Array(Math.max(this.at, 2 * this.buffer.byteLength))
      larger.set(this.buffer)
      this.buffer = larger
      this.view = new DataView(larger.buffer)
    }
    return at
  }
}
