/**
 * How far a job that changes rows in place has come, in memory that outlives its thread: a job that is run again after a
 * crash must not add to a row twice.
 */
export class Written {
  readonly buffer: SharedArrayBuffer
  private readonly state: Int32Array

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT)) {
    this.buffer = buffer
    this.state = new Int32Array(buffer)
  }

  /** Rows of the job that are done. */
  get rows(): number {
    return Atomics.load(this.state, 0)
  }

  /** Whether the thread ended in the middle of a write: nobody knows which rows have it. */
  get isTorn(): boolean {
    return Atomics.load(this.state, 1) !== 0
  }

  /** Writes rows up to `end` by `body`. */
  write(end: number, body: () => void): void {
    Atomics.store(this.state, 1, 1)
    body()
    // In this order: a thread that ends between the two leaves a torn state, which is refused, never a row added twice.
    Atomics.store(this.state, 0, end)
    Atomics.store(this.state, 1, 0)
  }
}
