import { defineImageStore } from '../../image-store.ts'
import { cinderStoreOptions } from './options.ts'

export default defineImageStore({
  type: 'cinder',
  schemes: ['cinder'],
  options: cinderStoreOptions,
  async create(settings, place) {
    const [{ CinderProjects }, { CinderStore }] = await Promise.all([
      import('./projects.ts'),
      import('./store.ts'),
    ])
    return new CinderStore(
      new CinderProjects(settings, place),
      {
        attach: {
          initiatorName: place.initiatorName,
          multipath: settings.useMultipath,
          attempts: settings.attachmentAttempts,
        },
        transitionMs: settings.transitionSeconds * 1000,
        volumeType: settings.volumeType,
        extendAttached: settings.extendAttached,
        bootableFormats: settings.bootableFormats.map((each) => each.replaceAll(/^['"‘’]|['"‘’]$/g, '')),
      },
      place.multiStore ? place.name : undefined,
    )
  },
  occupies: ({ endpointTemplate, catalogInfo, region, project, volumeType }) =>
    [endpointTemplate ?? catalogInfo, region, project, volumeType ?? 'default volume type']
      .filter((part) => part !== undefined)
      .join(', '),
})
