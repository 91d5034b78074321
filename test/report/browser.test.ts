import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Browser, Page } from 'playwright-core'
import { chromium } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { reportPage } from '../../src/report/page.ts'
import { sampleExperiments } from './sample-experiments.ts'
import { sampleReport } from './sample.ts'

const CHROMIUM = [
  process.env['SPEXPAND_CHROMIUM'],
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
].find((path) => path !== undefined && existsSync(path))
if (!CHROMIUM) console.log('skipped: report.html in a browser: no Chromium found (set SPEXPAND_CHROMIUM)')

describe.skipIf(!CHROMIUM)('report.html in Chromium', () => {
  const folder = mkdtempSync(join(tmpdir(), 'spexpand-page-'))
  const url = pathToFileURL(join(folder, 'report.html')).href
  const complaints: string[] = []
  let browser: Browser
  let page: Page

  beforeAll(async () => {
    writeFileSync(join(folder, 'report.html'), reportPage({ ...sampleReport(true), experiments: sampleExperiments() }))
    browser = await chromium.launch({ executablePath: CHROMIUM!, args: ['--no-sandbox'] })
    page = await browser.newPage()
    page.on('console', (message) => complaints.push(message.text()))
    page.on('pageerror', (error) => complaints.push(error.message))
    page.on('request', (request) => {
      if (!/^(file|data):/.test(request.url())) complaints.push(request.url())
    })
    await page.goto(url)
  }, 120_000)
  afterAll(async () => {
    await browser.close()
    rmSync(folder, { recursive: true })
    expect(complaints).toEqual([])
  })

  const column = (n: number): Promise<string[]> =>
    page.locator(`#table tbody tr:not([hidden]) td:nth-child(${n})`).allTextContents()

  it('sorts by a heading, both ways, and says so', async () => {
    const neurons = page.locator('#table thead th').nth(2)
    await neurons.locator('button').press('Enter')
    expect(await neurons.getAttribute('aria-sort')).toBe('descending')
    const falling = (await column(3)).map(Number)
    expect(falling).toEqual(falling.toSorted((a, b) => b - a))
    await neurons.locator('button').click()
    expect(await neurons.getAttribute('aria-sort')).toBe('ascending')
    expect((await column(3)).map(Number)).toEqual(falling.toReversed().toSorted((a, b) => a - b))
  })

  it('searches by words and by matrix, and counts what is left', async () => {
    await page.fill('#search', 'layer 1')
    await page.selectOption('#matrix', 'up')
    expect(new Set(await column(1))).toEqual(new Set(['1']))
    expect(new Set(await column(2))).toEqual(new Set(['up']))
    expect(await page.textContent('#shown')).toBe(`${(await column(1)).length} neurons`)
    await page.fill('#search', 'nothing')
    expect(await page.textContent('#shown')).toBe('0 neurons')
  })

  it('follows a link from a figure to its neuron, also when a search hides it', async () => {
    const link = page.locator('#outputs h4 a').first()
    const target = (await link.getAttribute('href'))!.slice(1)
    await link.click()
    await page.waitForFunction(`document.activeElement?.id === '${target}'`)
    expect(await page.locator(`#${target}`).isVisible()).toBe(true)
    expect(await page.inputValue('#search')).toBe('')
  })

  it.each([
    ['light', 1280],
    ['dark', 1280],
    ['light', 390],
    ['dark', 320],
  ] as const)('fits without scrolling sideways: %s, %i px', async (colorScheme, width) => {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize({ width, height: 800 })
    // Scripts as text: the types of the DOM are not part of this project.
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
    const colours = await page.evaluate<string[]>(
      '[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]',
    )
    const [paper, ink] = colours.map((text) => Number(/\d+/.exec(text)![0]))
    expect(colorScheme === 'dark' ? paper! < 60 && ink! > 200 : paper! > 240 && ink! < 60).toBe(true)
  })
})
